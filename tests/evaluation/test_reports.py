"""What `validate` and `predict` print and leave: a table as `test`'s, and where things are."""

import json
import re
from types import SimpleNamespace

import pytest
from helpers import EvenIsRight, make_data, make_module, make_trainer
from processes import command_line, run_ranks, start, wait
from pyarrow import parquet
from rich.console import Console

from fgexpo.callbacks import EvaluationReport, RolloutLog, RolloutProgress
from fgexpo.callbacks import progress as module_under_test
from fgexpo.errors import UserError
from fgexpo.evaluation import EvaluationSettings
from fgexpo.evaluation.results import results_table
from fgexpo.rollout import Sampling
from fgexpo.tasks import TinyArithmetic

SETS = {
    name: TinyArithmetic("held_out", 1, levels=levels)
    for name, levels in {"one": [1], "two": [1, 2]}.items()
}


def evaluate(command, folder, tmp_path, *callbacks, settings=None, **options):
    settings = settings or EvaluationSettings(4, [4], Sampling(max_new_tokens=8), [4])
    module = make_module(folder, verifier=EvenIsRight(), evaluation=settings)
    data = make_data(val=SETS, questions_per_eval_batch=5)
    callbacks = [EvaluationReport(), RolloutProgress(), *callbacks]
    options = {"limit_val_batches": 1.0, "enable_progress_bar": True, **options}
    trainer = make_trainer(tmp_path, 1, callbacks, **options)
    quiet = {"return_predictions": False} if command == "predict" else {"verbose": False}
    getattr(trainer, command)(module, data, **quiet)


def scores(path):
    results = json.loads(path.read_text())
    return {name: found["scores"] for name, found in results["benchmarks"].items()}


def test_the_three_commands_have_the_same_numbers(model_folder, tmp_path, capsys):
    for command in ("validate", "predict"):
        evaluate(command, model_folder, tmp_path, RolloutLog())
    out = capsys.readouterr().out
    assert not re.search(r"\d\.\d{6}", out), "no number has more digits than it is worth"
    assert out.count("means, [95 % intervals over questions]") == 2
    for command in ("validate", "predict"):
        assert f"results: {tmp_path}/{command}-results.json" in out
    assert f"completions: {tmp_path}/rollouts/predict-*.parquet" in out
    assert "completions: not saved; --rollouts.save=true" in out  # of validate
    rows = [row for row in out.splitlines() if "rollouts  " in row and "│" in row]
    assert [re.findall(r"\d+", row) for row in rows] == [["24", "48"]] * 2
    validated, predicted = (
        scores(tmp_path / f"{command}-results.json") for command in ("validate", "predict")
    )
    for name, found in validated.items():
        accuracy = predicted[name].pop("pass@1")  # shown whatever model.evaluation.ks is
        assert predicted[name] == found and 0 < accuracy["mean"] < found["pass@4"]["mean"]
    files = sorted((tmp_path / "rollouts").iterdir())
    saved = [row for path in files for row in parquet.read_table(path).to_pylist()]
    assert len(saved) == 24 + 48
    right = sum(row["correct"] for row in saved if row["dataset"] == "two") / 48
    assert right == pytest.approx(accuracy["mean"])


def test_two_predictions_are_not_mixed(model_folder, tmp_path, capsys):
    evaluate("predict", model_folder, tmp_path, RolloutLog(), limit_predict_batches=1)
    assert "asked 10 of 10 questions" in capsys.readouterr().out
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "rollouts").iterdir())
    with pytest.raises(UserError, match=r"rollouts\.dirpath: .* of an earlier `predict`; move"):
        evaluate("predict", model_folder, tmp_path, RolloutLog())
    assert sorted(p.stat().st_mtime_ns for p in (tmp_path / "rollouts").iterdir()) == before
    evaluate("predict", model_folder, tmp_path, RolloutLog(save=False))
    assert "completions: not saved; --rollouts.save=true" in capsys.readouterr().out
    evaluate("predict", model_folder, tmp_path)
    assert "completions: not saved, since there is no `rollouts`" in capsys.readouterr().out


def test_what_is_printed_comes_by_time(model_folder, tmp_path, monkeypatch, capsys):
    """A line for the first batch, one every 30 seconds, and one for the last."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(module_under_test, "time", clock)
    progress = RolloutProgress()
    progress.console = Console(width=200, force_terminal=False)
    trainer = SimpleNamespace(callbacks=[], state=SimpleNamespace(fn="test"))
    said = SimpleNamespace(fresh=True, done=False)
    for batch in range(10):
        said.add = lambda *_, batch=batch: f"batch {batch}"
        said.done, progress._clock = batch == 9, said
        asked = object.__new__(module_under_test.RolloutBatch)
        progress.on_test_batch_end(trainer, None, None, asked, batch)
        said.fresh, clock.now = False, clock.now + 12.0
    assert capsys.readouterr().out.split("\n")[:-1] == [f"batch {n}" for n in (0, 3, 6, 9)]


def test_questions_that_are_too_long_are_explained():
    score = {"pass@1": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    found = {"questions": 1, "dropped": 3, "scores": score}
    console = Console(width=80)
    with console.capture() as printed:
        console.print(results_table({"model": "m", "benchmarks": {"x": found}, "mean": None}))
    assert "1 (-3)" in printed.get() and "too long to" in printed.get()


def arguments(command, model, folder, *more):
    return [
        *(command, "--config=tiny", f"--model.name={model}", "--prepare=null"),
        *("--trainer.logger.save_dir=" + str(folder), "--data.val.tiny.init_args.per_cell=1"),
        *("--data.val.tiny.init_args.levels=[1,2,3]", "--data.questions_per_eval_batch=2"),
        *("--model.evaluation.rollouts=2", "--model.evaluation.ks=[1,2]", *more),
    ]


def results_of(command, folder):
    (path,) = folder.glob(f"tiny/version_*/{command}-results.json")
    return json.loads(path.read_text())


def test_two_processes_print_once_and_one_has_the_same_numbers(model_folder, tmp_path):
    """The command line into a file; 18 questions, 2 a batch: shares of 9."""
    two, one, log = tmp_path / "two", tmp_path / "one", tmp_path / "alone"
    alone = start(command_line, arguments("validate", model_folder, one), log=log)
    asked = arguments("predict", model_folder, two, "--trainer.devices=2")
    logs = run_ranks(command_line, asked, log=tmp_path / "log")
    told = "results: |completions: |means, |asked "
    assert "asked 9 of 9 questions (one of 2 processes)" in logs[0]
    assert re.search(told, logs[0]) and not re.search(told, logs[1]), logs[1]
    assert f"completions: {two}/tiny/version_0/rollouts/predict-*.parquet" in logs[0]
    files = [path.name for path in (two / "tiny/version_0/rollouts").iterdir()]
    assert len(files) == 10 and sum("rank=1" in name for name in files) == 5
    assert wait([alone]) == [0], log.read_text()
    out = log.read_text()
    # Not Lightning's own table, whose numbers have 17 digits.
    assert "Validate metric" not in out and not re.search(r"\d\.\d{6}", out)
    assert "pass@1 (accuracy)" in out and f"logs: {one}/tiny/version_0" in out
    found = results_of("validate", one), results_of("predict", two)
    assert found[0] == found[1] and found[0]["identity"]["rollouts"] == 2
