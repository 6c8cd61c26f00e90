"""One question and all that the policy answered to it, as a table."""

from fgexpo.advantages import AdvantageEstimator
from fgexpo.loggers import Table
from fgexpo.types import RolloutBatch
from fgexpo.update.batch import TrainingBatch


def with_signal(batch: RolloutBatch, advantages: AdvantageEstimator) -> int:
    """The first question whose rollouts teach something, or 0 where none does.

    Args:
        batch: this process's rollouts; groups may differ in size.
        advantages: the estimator, which says what teaches.
    """
    signal_Q = batch.groups.by_size(advantages.has_signal, batch.reward_N)
    return int(signal_Q.int().argmax())


def group_table(batch: RolloutBatch, question: int, most: int | None = None) -> Table:
    """A question's rollouts, a row each, under the question and its gold answer.

    Args:
        batch: graded rollouts; without advantages where they are not a training step's.
        question: which of the batch's Q questions.
        most: rows at most; null for the whole group.
    """
    asked, rows = batch.source.questions[question], batch.groups.rows[question]
    size = rows.stop - rows.start
    numbers = range(rows.start, rows.stop)[:most]
    # Their weighted sum is the reward; one alone would only repeat it.
    parts = batch.score_N if len(batch.score_N) > 1 else {}
    trained = isinstance(batch, TrainingBatch)
    head = ["completion", "correct", *parts, "reward", *["advantage"] * trained, "tokens", "end"]
    table = [
        (
            batch.texts[n],
            bool(batch.correct_N[n]),
            *(float(score_N[n]) for score_N in parts.values()),
            float(batch.reward_N[n]),
            *([float(batch.advantages_N[n])] if isinstance(batch, TrainingBatch) else []),
            int(batch.completions.lengths_N[n]),
            batch.completions.finish[n],
        )
        for n in numbers
    ]
    shown = f"{len(numbers)} of {size}"
    return Table(
        tuple(head), table, {"question": asked.prompt, "gold": asked.answer, "rollouts": shown}
    )
