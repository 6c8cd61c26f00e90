"""The change of a score over the same questions, and its interval."""

import numpy as np
import torch
from helpers import Parity, fit, make_data
from near import within
from rich.console import Console

from fgexpo.callbacks import RolloutProgress, ValidateFirst
from fgexpo.evaluation import EvaluationSettings
from fgexpo.evaluation.change import ByQuestion, by_question, change_intervals
from fgexpo.metrics import FIELDS
from fgexpo.questions import Question
from fgexpo.tasks import TinyArithmetic


def samples(correct, n=4):
    found = torch.zeros(len(FIELDS), n, dtype=torch.int64)
    found[0, :correct] = 1
    return found


def test_scores_by_question_and_by_group():
    questions = [
        Question(f"q{row}", "1 + 1", "2", {} if row == 2 else {"level": str(row % 2)})
        for row in range(4)
    ]
    settings = EvaluationSettings(4, [1, 4], break_down_by=["level"])
    found = by_question(settings, questions, {row: samples(row) for row in (3, 0, 1, 2)})
    assert found.ids == ["q0", "q1", "q2", "q3"]
    columns = dict(zip(found.tags, found.scores_QS.T.tolist(), strict=True))
    assert columns["pass@1"] == [0.0, 0.25, 0.5, 0.75] and columns["pass@4"] == [0.0, 1.0, 1.0, 1.0]
    assert torch.equal(
        torch.tensor(columns["level_1/pass@1"]).nan_to_num(-1.0), torch.tensor([-1, 0.25, -1, 0.75])
    )
    assert "tokens" not in " ".join(columns)


def test_the_interval_is_that_of_the_paired_difference():
    """Wide scores that rise by nearly the same everywhere: only the difference is certain."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 0.8, 400)
    rise = rng.normal(0.1, 0.05, 400)
    ids = [str(i) for i in range(400)]
    one, two = (
        ByQuestion(ids, ["pass@1"], torch.tensor(scores[:, None], dtype=torch.float32))
        for scores in (base, base + rise)
    )
    low, high = change_intervals("x", one, two)["pass@1"]
    reach = 1.96 * rise.std() / 20
    within(low, rise.mean() - reach, 1e-3)
    within(high, rise.mean() + reach, 1e-3)
    other = ByQuestion(ids[::-1], two.tags, two.scores_QS)
    assert change_intervals("x", one, other) == {}


def test_a_group_has_an_interval_of_its_own():
    nan = float("nan")
    base = torch.tensor([[0.0, 0.0, nan], [0.0, 0.0, nan], [0.0, nan, 0.0]])
    final = torch.tensor([[1.0, 1.0, nan], [1.0, 1.0, nan], [0.0, nan, 0.0]])
    tags = ["pass@1", "level_1/pass@1", "level_2/pass@1"]
    found = change_intervals(
        "x", ByQuestion(list("abc"), tags, base), ByQuestion(list("abc"), tags, final)
    )
    assert found.keys() == {"pass@1", "level_1/pass@1"}  # of one question there is none
    assert found["level_1/pass@1"] == (1.0, 1.0) and found["pass@1"] == (0.0, 1.0)


def test_a_run_prints_it_and_a_resumed_one_too(model_folder, tmp_path, capsys):
    progress = RolloutProgress()
    progress.console = Console(width=200, force_terminal=False)
    data = make_data(val={"tiny": TinyArithmetic("held_out", 2, levels=[1, 2])})
    fit(
        model_folder,
        tmp_path,
        2,
        [progress, ValidateFirst()],
        data,
        {
            "enable_progress_bar": True,
            "limit_val_batches": 1.0,
            "val_check_interval": 2,
            "check_val_every_n_epoch": None,
        },
        rewards=[Parity()],
    )
    torch.save(progress.state_dict(), tmp_path / "state")
    again = RolloutProgress()
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    again._latest_questions = progress._latest_questions
    assert again._intervals() == progress._intervals()
    assert {"val/tiny/pass@1", "val/tiny/pass@2"} <= progress._intervals().keys()
    printed = capsys.readouterr().out
    assert "change [95 % interval]" in printed and "val/tiny/pass@1 " in printed
    again.load_state_dict({"base": {}})  # of a checkpoint from before
    assert again._intervals() == {}
