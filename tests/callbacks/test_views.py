import io
from types import SimpleNamespace

import torch
from fgexpo.callbacks.panels import completions_table
from fgexpo.callbacks.progress import RolloutProgress, comparison
from rich.console import Console

from fgexpo.callbacks import StopAfter
from fgexpo.groups import Groups
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
    return RolloutBatch(source, groups, done, [text] * 4, verdicts, ones, ones, torch.zeros(4))


def test_markup_in_completions_is_escaped():
    table = completions_table(batch(), samples=5)
    lines = table.splitlines()
    assert len(lines) == 4, "a newline or a pipe in a completion must not break the table"
    assert all(line.count("|") == 7 for line in lines)
    for markup in ("<script", "`", "**", "](", "\\"):
        assert markup not in "".join(lines[2:])


def test_the_table_has_one_row_per_rollout():
    columns = table_columns(batch("x"))
    assert {len(column) for column in columns.values()} == {4}
    assert columns["question_id"] == ["q1", "q1", "q2", "q2"]
    assert columns["sample"] == [0, 1, 0, 1]


def test_groups_of_different_sizes_are_shown_as_they_are():
    columns = table_columns(batch("x", sizes=(3, 1)))
    assert columns["question_id"] == ["q1", "q1", "q1", "q2"]
    assert columns["sample"] == [0, 1, 2, 0]
    ragged = batch("x", sizes=(3, 1))
    ragged.texts = ["a", "b", "c", "d"]
    rows = completions_table(ragged, samples=5).splitlines()[2:]
    assert [row.split(" | ")[2] for row in rows] == ["a", "d"], "one completion of each question"


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
