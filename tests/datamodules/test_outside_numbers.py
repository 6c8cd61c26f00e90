"""Pass-rates from a file or a checkpoint, and names of sets: what cannot be meant is refused."""

import json
import math

import pytest
import torch
from helpers import make_data
from rich.console import Console

from fgexpo.curriculum.alternatives import Thompson
from fgexpo.curriculum.pass_rates import PassRateTable
from fgexpo.curriculum.shared import Shared
from fgexpo.datamodules import EvaluationDataModule, SupervisedDataModule
from fgexpo.errors import UserError
from fgexpo.evaluation.results import results_table
from fgexpo.evaluation.warm_start import read_pass_rates
from fgexpo.tasks import TinyArithmetic


@pytest.mark.parametrize(
    "entry", ["[NaN, 1]", "[Infinity, 1]", "[7, 1]", "[-3, 1]", "[true, 1]", "[0.5, -1]",
              "[0.5, 1.5]", "[0.5, true]", '["0.5", 1]', "[0.5]", "0.5", "null", "[0.5, 1e30]"],
)  # fmt: skip
def test_a_warm_start_names_the_question_and_the_value(tmp_path, entry):
    path = tmp_path / "rates.json"
    path.write_text(f'{{"a": [0.25, 3], "b": {entry}}}')
    with pytest.raises(UserError, match=r"data\.warm_start: .*rates\.json' has .* 'b', expected"):
        read_pass_rates(str(path))


@pytest.mark.parametrize("content", [b"[1]", b"3", b"{", b"\xff", b"[" * 100_000, b""])
def test_a_warm_start_that_is_no_table_is_named(tmp_path, content):
    path = tmp_path / "rates.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.warm_start: .*rates\.json'"):
        read_pass_rates(str(path))
    with pytest.raises(UserError, match="does not exist"):
        read_pass_rates(str(tmp_path))


def test_a_right_warm_start_is_read(tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"a": [1, 3], "b": [0.0, 0]}))
    assert read_pass_rates(str(path)) == {"a": (1.0, 3), "b": (0.0, 0)}


@pytest.mark.parametrize("value", [math.nan, math.inf, 7.0, -3.0])
def test_a_checkpoint_cannot_bring_other_pass_rates(value):
    table = PassRateTable(3)
    state = table.state_dict()
    state["pass_rates"][1] = value
    keys = torch.arange(3)
    for load in (table.load_state_dict, lambda state: table.carry_over(state, keys, keys)):
        with pytest.raises(UserError, match=f"pass-rate {value} after 0 visits in row 1, expected"):
            load(state)
    assert table.pass_rates.tolist() == [0.5] * 3
    state = table.state_dict()
    state["visits"][2] = -1
    with pytest.raises(UserError, match="after -1 visits in row 2"):
        table.load_state_dict(state)
    with pytest.raises(UserError, match="3 pass-rates, but the visits of 2"):
        table.load_state_dict({"pass_rates": table.pass_rates, "visits": table.visits[:2]})


@pytest.mark.parametrize("make", [Thompson, lambda: Shared("level", inner=Thompson())])
def test_beliefs_from_a_checkpoint_are_checked_too(make):
    for value in (math.nan, math.inf, -1.0):
        state = {"draws": 0, "counts": torch.tensor([[1.0, 2.0], [0.0, value]])}
        with pytest.raises(UserError, match="saved counts of row 1"):
            make().load_state_dict(state)


SOURCE = TinyArithmetic("held_out", 1, levels=[1])


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "[bold]x[/bold]", "[/x]", ".hidden", "..", "", " x", "x ",
             "x\n", "x.", "-x", "\ud800", "a" * 101, "mean", "a\x1b[31m", "<b>"],
)  # fmt: skip
def test_names_of_sets_that_cannot_be_folders_or_headings_are_refused(name):
    for make, setting in (
        (lambda sets: make_data(val=sets), "data.val"),
        (EvaluationDataModule, "data.sets"),
        (SupervisedDataModule, "data.val"),
    ):
        with pytest.raises(UserError, match=f"{setting}: .* name of "):
            make({name: SOURCE})


def test_names_of_sets_that_are_fine():
    for name in ("tiny", "aime24", "MATH-500", "my set (hard)", "v1.2_x+y=z@8", "数学", "2024"):
        assert list(EvaluationDataModule({name: SOURCE}).sets) == [name]


def test_brackets_in_names_are_no_markup():
    score = {"pass@1": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    found = {"questions": 1, "dropped": 0, "scores": score}
    results = {"model": "runs/[red]", "benchmarks": {"[/x]": found}, "mean": None}
    console = Console(width=80)
    with console.capture() as printed:
        console.print(results_table(results))
    assert "[/x]" in printed.get() and "[red]" in printed.get()
