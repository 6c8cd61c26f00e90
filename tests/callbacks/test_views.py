import io
from types import SimpleNamespace

import pytest
import torch
from fgexpo.callbacks.comparison import comparison
from fgexpo.callbacks.group_table import group_table, with_signal
from fgexpo.callbacks.panels import TensorBoardPanels
from fgexpo.callbacks.progress import RolloutProgress
from rich.console import Console

from fgexpo.advantages import GroupNormalised
from fgexpo.callbacks import StopAfter
from fgexpo.errors import UserError
from fgexpo.groups import Groups
from fgexpo.loggers.text_table import markdown
from fgexpo.questions import Question
from fgexpo.rewards import Verdict
from fgexpo.rollout.parquet import table_columns
from fgexpo.types import Completions, QuestionBatch, RolloutBatch

HOSTILE = "<script>alert(1)</script> [red]x[/red] | `a` **b** \\boxed{1}\n![i](http://x)"


def batch(text=HOSTILE, sizes=(2, 2)):
    questions = [Question("q1", "1+1", "2"), Question("q2", "2+2", "4")]
    source = QuestionBatch(torch.tensor([0, 1]), questions, [[1], [2]], "tiny")
    done = Completions(
        torch.ones(4, 2, dtype=torch.int64),
        torch.tensor([2, 1, 2, 2]),
        ["stop"] * 4,
        torch.zeros(4, 2),
    )
    ones = torch.ones(4)
    verdicts = [Verdict(True, "1")] * 4
    groups = Groups(sizes)
    return RolloutBatch(source, groups, done, [text] * 4, verdicts, ones, ones, {})


def test_markup_in_completions_is_escaped():
    graded = batch()
    graded.source.questions[0] = Question("q1", HOSTILE, HOSTILE)
    question, empty, gold, _, shown, _, *lines = markdown(group_table(graded, 0)).splitlines()
    assert empty == "" and len(lines) == 4, "a newline or a pipe must not break the table"
    title = question + gold
    assert all(line.count("|") == 6 for line in lines) and "|" not in title
    assert (question[:10], gold[:6], shown) == ("question: ", "gold: ", "rollouts: 2 of 2")
    for markup in ("<script", "`", "**", "](", "\\"):
        assert markup not in title + "".join(lines[2:])


def test_the_table_is_one_whole_group():
    graded = batch(sizes=(1, 3))
    graded.texts = ["a", "b", "c", "d"]
    graded.reward_N = torch.tensor([1.0, 0.0, 1.0, 0.5])
    graded.completions.finish[2] = "length"
    # The first group has one rollout, and no signal.
    assert with_signal(graded, GroupNormalised()) == 1
    table = group_table(graded, 1)
    assert table.head == ("completion", "correct", "reward", "tokens", "end")
    assert [row[0] for row in table.rows] == ["b", "c", "d"]
    assert [row[2:] for row in table.rows] == [
        (0.0, 1, "stop"),
        (1.0, 2, "length"),
        (0.5, 2, "stop"),
    ]
    assert table.shared == {"question": "2+2", "gold": "4", "rollouts": "3 of 3"}
    assert table.flat()[0] == ["question", "gold", "rollouts", *table.head]
    assert table.flat()[1] == ["2+2", "4", "3 of 3", *table.rows[0]]
    capped = group_table(graded, 1, most=2)
    assert [row[0] for row in capped.rows] == ["b", "c"] and capped.shared["rollouts"] == "2 of 3"
    # Without any signal it is the first group.
    graded.reward_N = torch.ones(4)
    assert with_signal(graded, GroupNormalised()) == 0


def test_parts_of_a_reward_have_columns_of_their_own():
    graded = batch()
    graded.score_N = {"accuracy": torch.ones(4)}
    assert "accuracy" not in group_table(graded, 0).head
    graded.score_N["overlong"] = torch.tensor([0.0, -1.0, 0.0, 0.0])
    table = group_table(graded, 0)
    assert table.head[1:5] == ("correct", "accuracy", "overlong", "reward")
    assert [row[3] for row in table.rows] == [0.0, -1.0]


def test_panels_refuse_what_they_cannot_draw():
    for name in ("every_steps", "samples"):
        with pytest.raises(UserError, match=rf"panels\.{name} must be at least 1, got 0"):
            TensorBoardPanels(**{name: 0})


def test_the_table_has_one_row_per_rollout():
    columns = table_columns(batch("x"))
    assert {len(column) for column in columns.values()} == {4}
    assert columns["question_id"] == ["q1", "q1", "q2", "q2"]
    assert columns["sample"] == [0, 1, 0, 1]


def test_groups_of_different_sizes_are_shown_as_they_are():
    columns = table_columns(batch("x", sizes=(3, 1)))
    assert columns["question_id"] == ["q1", "q1", "q1", "q2"]
    assert columns["sample"] == [0, 1, 2, 0]


def test_the_comparison_shows_the_change():
    base, final = {"val/a[b]/pass@1": 0.25}, {"val/a[b]/pass@1": 0.5, "val/new/pass@1": 1.0}
    text = io.StringIO()
    Console(file=text, width=80).print(comparison(base, final, 10))
    assert "val/a[b]/pass@1" in text.getvalue() and "+0.250" in text.getvalue()


def test_progress_remembers_the_base():
    one, two = RolloutProgress(), RolloutProgress()
    one._base = {"val/tiny/pass@1": 0.3}
    two.load_state_dict(one.state_dict())
    assert two._base == one._base


def test_the_bar_shows_runs_of_any_length():
    trainer = SimpleNamespace(
        callbacks=[], max_steps=-1, callback_metrics={}, log_dir=None, loggers=[], world_size=1
    )
    policy = torch.nn.Linear(2, 3)
    module = SimpleNamespace(
        rollout_step=3, beta=0.5, policy=policy, name="m", dtype_name="float32"
    )
    for callbacks, shown in (([], "step 3/?"), ([StopAfter(9)], "step 3/9")):
        progress, text = RolloutProgress(), io.StringIO()
        trainer.callbacks = callbacks
        progress.console = Console(file=text, width=120, force_terminal=True)
        progress.on_train_start(trainer, module)
        progress.on_train_batch_end(trainer, module, None, batch("x"), 0)
        progress.on_train_end(trainer, module)
        assert shown in text.getvalue() and "beta 0.5" in text.getvalue()
