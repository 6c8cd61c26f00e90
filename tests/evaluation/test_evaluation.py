"""Evaluation from planted completions to results.json, and over kills and processes."""

import json
import os
import signal
import time
from math import comb
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch.loggers import TensorBoardLogger
from near import same
from processes import command_line, run_ranks, start, start_holder, start_ranks, wait

from fgexpo.callbacks import EvaluationReport, RolloutProgress
from fgexpo.datamodules import EvaluationDataModule
from fgexpo.errors import EnvironmentFailure
from fgexpo.evaluation import EvaluationSettings
from fgexpo.evaluation.store import EvaluationStore
from fgexpo.policy import PolicyModule
from fgexpo.questions import Question
from fgexpo.rollout import Native, RolloutEngine, Sampling
from fgexpo.tasks import QuestionSource, TinyArithmetic
from fgexpo.types import Completions

CONFIG = str(Path(__file__).parents[2] / "configs" / "eval" / "tiny.yaml")


class Given(QuestionSource):
    def __init__(self, *questions):
        self.given = list(questions)

    def questions(self):
        return self.given


class Scripted(RolloutEngine):
    """Answers each prompt by the texts that are planned for it."""

    def __init__(self, tokenizer, plan):
        self.tokenizer, self.plan, self.asked = tokenizer, plan, []

    def generate(self, policy, request):
        rows, finish = [], []
        for prompt in request.prompts:
            question = self.tokenizer.decode(prompt)
            self.asked.append(question)
            for text in self.plan[question]:
                rows.append([*self.tokenizer(text).input_ids, self.tokenizer.eos_token_id])
                finish.append("stop" if "}" in text else "length")
        lengths = torch.tensor([len(row) for row in rows])
        padded = [row + [0] * (int(lengths.max()) - len(row)) for row in rows]
        tokens = torch.tensor(padded)
        return Completions(tokens, lengths, finish, torch.zeros(tokens.shape))


# Of 32 samples each: all right; one right and no other answer; half right, half one wrong answer;
# never right; three right against 29 times one wrong answer.
RIGHT, WRONG, OTHER, SILENT = r"\boxed{1}", r"\boxed{2}", r"\boxed{01}", "3"
PLAN = {
    "1": [RIGHT] * 16 + [OTHER] * 16,
    "2": [RIGHT] + [SILENT] * 31,
    "3": [RIGHT] * 8 + [OTHER] * 8 + [WRONG] * 16,
    "4": [WRONG] * 32,
    "5": [RIGHT] * 3 + [WRONG] * 29,
}
EXPECTED = {
    "pass@1": (1 + 1 / 32 + 1 / 2 + 0 + 3 / 32) / 5,
    "pass@8": (
        (1 + 8 / 32 + (1 - comb(16, 8) / comb(32, 8)) + 0 + (1 - comb(29, 8) / comb(32, 8))) / 5
    ),
    "pass@32": 4 / 5,
    "maj@8": (1 + 8 / 32 + 1 / 2 + 0 + 0) / 5,
    "no_answer_frac": 31 / 32 / 5,
    "truncated_frac": 31 / 32 / 5,
    # Tokens: the box, its content, the closing brace, the end; a silent one has two.
    "mean_length": (
        (16 * 4 + 16 * 5) / 32 + (4 + 31 * 2) / 32 + (8 * 4 + 8 * 5 + 16 * 4) / 32 + 4 + 4
    )
    / 5,
}


def evaluate(folder, tmp_path, logger=False, questions=None, seed=0, batch=2, **more):
    settings = EvaluationSettings(32, [1, 8, 32], Sampling(max_new_tokens=8), [8], **more)
    module = PolicyModule(folder, evaluation=settings, max_prompt_tokens=32, seed=seed)
    module.engine = Scripted(module.prompts.tokenizer, PLAN)
    source = Given(*(questions or [Question(f"q{text}", text, "1") for text in PLAN]))
    data = EvaluationDataModule({"planted": source}, questions_per_batch=batch)
    callbacks = [EvaluationReport(str(tmp_path / "report")), RolloutProgress()]
    options = {"logger": logger, "enable_progress_bar": True}
    trainer = make_trainer(tmp_path, 1, callbacks, **options)
    trainer.test(module, data, verbose=False)
    return module, trainer


def test_planted_completions_get_the_scores_computed_by_hand(model_folder, tmp_path, capsys):
    logger = TensorBoardLogger(tmp_path, name="tb")
    _, trainer = evaluate(model_folder, tmp_path, logger=logger)
    for tag, expected in EXPECTED.items():
        assert float(trainer.callback_metrics[f"test/planted/{tag}"]) == pytest.approx(expected)
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    scores = results["benchmarks"]["planted"]["scores"]
    assert set(EXPECTED) <= set(scores)
    for tag, expected in EXPECTED.items():
        same(scores[tag]["mean"], expected, rel=1e-12)
        assert scores[tag]["low"] <= expected <= scores[tag]["high"]
    assert results["mean"] is None
    printed = capsys.readouterr().out
    assert "planted: asked 5 of 5 questions  mean acc" in printed and "maj@8" in printed


def test_every_graded_completion_is_in_parquet(model_folder, tmp_path):
    from pyarrow import parquet

    evaluate(model_folder, tmp_path)
    rows = parquet.read_table(tmp_path / "report" / "completions" / "planted").to_pylist()
    assert len(rows) == 5 * 32
    assert [r["correct"] for r in rows if r["question_id"] == "q5"] == [1.0] * 3 + [0.0] * 29
    assert {r["answer"] for r in rows if r["question_id"] == "q2"} == {"1", None}
    assert {r["completion"] for r in rows if r["question_id"] == "q4"} == {WRONG}


def test_finished_questions_are_not_asked_again(model_folder, tmp_path, capsys):
    module, _ = evaluate(model_folder, tmp_path)
    first = (tmp_path / "report" / "results.json").read_bytes()
    assert sorted(module.engine.asked) == list("12345")
    files = sorted((tmp_path / "report" / "completions" / "planted").iterdir())
    assert len(files) == 3
    files[1].unlink()
    module, _ = evaluate(model_folder, tmp_path)
    assert sorted(module.engine.asked) == ["3", "4"]
    assert (tmp_path / "report" / "results.json").read_bytes() == first
    module, _ = evaluate(model_folder, tmp_path)
    assert module.engine.asked == []
    assert (tmp_path / "report" / "results.json").read_bytes() == first
    assert "planted: 3 of 5 questions are finished" in capsys.readouterr().out


# The torn file stays where it is, so the last evaluation warns of it again.
@pytest.mark.filterwarnings("ignore:.*cannot be read:UserWarning")
def test_batches_of_another_size_lose_nothing(model_folder, tmp_path):
    module, _ = evaluate(model_folder, tmp_path)
    first = (tmp_path / "report" / "results.json").read_bytes()
    files = sorted((tmp_path / "report" / "completions" / "planted").iterdir())
    files[0].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-7])
    with pytest.warns(UserWarning, match=f"{files[2].name}' cannot be read"):
        module, _ = evaluate(model_folder, tmp_path, batch=5)
    assert sorted(module.engine.asked) == ["1", "2", "5"]
    assert (tmp_path / "report" / "results.json").read_bytes() == first
    module, _ = evaluate(model_folder, tmp_path, batch=1)
    assert module.engine.asked == []


def test_another_evaluation_does_not_share_the_folder(model_folder, other_model_folder, tmp_path):
    evaluate(model_folder, tmp_path)
    with pytest.raises(ValueError, match=r"report\.folder.*with weights = .* choose another"):
        evaluate(other_model_folder, tmp_path)
    with pytest.raises(ValueError, match=r"report\.folder.*with seed = 0, and this one has 1"):
        evaluate(model_folder, tmp_path, seed=1)
    changed = [Question(f"q{text}", text, "1", relative_error=0.1) for text in PLAN]
    with pytest.raises(ValueError, match=r"report\.folder.*with questions = "):
        evaluate(model_folder, tmp_path, questions=changed)


def test_two_do_not_write_into_one_folder_at_once(model_folder, tmp_path):
    (tmp_path / "report").mkdir()
    process = start_holder(tmp_path / "report" / ".lock")
    words = f"report.folder: the folder .* is in use by process {process.pid} on"
    with pytest.raises(EnvironmentFailure, match=words):
        evaluate(model_folder, tmp_path)
    process.kill()
    process.join()
    evaluate(model_folder, tmp_path)
    assert not (tmp_path / "report" / ".lock").exists()


def test_an_unfinished_question_is_not_loaded(tmp_path, model_folder):
    from pyarrow import Table, parquet

    evaluate(model_folder, tmp_path)
    path = next((tmp_path / "report" / "completions" / "planted").glob("question=00004*"))
    parquet.write_table(Table.from_pylist(parquet.read_table(path).to_pylist()[:-1]), path)
    store = EvaluationStore(tmp_path / "report", {})
    assert sorted(store.load("planted", 32)) == ["q1", "q2", "q3", "q4"]


def test_validation_in_training_has_the_same_scores(model_folder, tmp_path):
    settings = EvaluationSettings(4, [1, 4], Sampling(max_new_tokens=8), [4], ["level"])
    module = make_module(model_folder, verifier=EvenIsRight(), evaluation=settings)
    data = make_data(val={"tiny": TinyArithmetic("held_out", 1, levels=[1, 2])})
    report = EvaluationReport(str(tmp_path / "report"))
    trainer = make_trainer(tmp_path, 1, [report], limit_val_batches=1.0)
    validated = trainer.validate(module, data, verbose=False)[0]
    tested = trainer.test(module, data, verbose=False)[0]
    assert {tag.replace("val/", "test/"): score for tag, score in validated.items()} == tested
    assert {"test/tiny/pass@4", "test/tiny/maj@4", "test/tiny/level_2/pass@1"} <= set(tested)


@pytest.mark.parametrize("what", ["ks", "maj_ks"])
def test_k_beyond_n_is_refused(what):
    with pytest.raises(ValueError, match=rf"evaluation\.{what}: 8 is not between 1 and .* = 4"):
        EvaluationSettings(rollouts=4, **{"ks": [1], what: [8]})


def arguments(model, folder, *more):
    return [
        *("test", "--config", CONFIG, f"--model.name={model}", f"--report.folder={folder}"),
        *("--trainer.logger=false", f"--trainer.default_root_dir={folder}"),
        *("--model.verifier=EvenIsRight", "--model.engine=Signalled"),
        *("--data.sets.tiny.init_args.per_cell=1", "--data.questions_per_batch=1"),
        *("--model.evaluation.rollouts=4", "--model.evaluation.ks=[1,4]"),
        *("--model.evaluation.maj_ks=[4]", "--model.evaluation.sampling.max_new_tokens=8"),
        *more,
    ]


def signalled(number, call):
    return (f"--model.engine.number={int(number)}", f"--model.engine.call={call}")


def test_an_evaluation_killed_twice_has_the_results_of_one_left_alone(model_folder, tmp_path):
    environment = {"FGEXPO_PLUGINS": "plants,helpers"}
    calm = start(
        command_line,
        arguments(model_folder, tmp_path / "calm"),
        log=tmp_path / "calm.log",
        environment=environment,
    )
    for strike in (5, 10):
        process = start(
            command_line,
            arguments(model_folder, tmp_path / "killed", *signalled(signal.SIGKILL, 6)),
            log=tmp_path / f"{strike}.log",
            environment=environment,
        )
        assert wait([process]) == [-signal.SIGKILL], (tmp_path / f"{strike}.log").read_text()
        assert finished(tmp_path / "killed") == strike
    assert not (tmp_path / "killed" / "results.json").exists()
    last = start(
        command_line,
        arguments(model_folder, tmp_path / "killed"),
        log=tmp_path / "last.log",
        environment=environment,
    )
    assert wait([calm, last]) == [0, 0]
    log = (tmp_path / "last.log").read_text()
    assert "of 24 questions are finished" in log and "asked 24 of" not in log
    results = [(tmp_path / name / "results.json").read_bytes() for name in ("calm", "killed")]
    assert results[0] == results[1]


def finished(folder):
    return len(list(folder.glob("completions/tiny/*.parquet")))


def test_two_processes_have_the_results_of_one(model_folder, tmp_path):
    environment = {"FGEXPO_PLUGINS": "plants,helpers"}
    odd = "--data.sets.tiny.init_args.levels=[1,2,3]"  # 18 questions, 2 a batch: shares of 9
    both = ("--trainer.devices=2", "--data.questions_per_batch=2", odd)
    run_ranks(
        command_line,
        arguments(model_folder, tmp_path / "two", *both),
        log=tmp_path / "log",
        environment=environment,
    )
    one = start(
        command_line,
        arguments(model_folder, tmp_path / "one", odd),
        log=tmp_path / "one.log",
        environment=environment,
    )
    assert wait([one]) == [0], (tmp_path / "one.log").read_text()
    found = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("one", "two")]
    assert found[0] == found[1]


def test_sigterm_keeps_what_is_finished_and_says_so(model_folder, tmp_path):
    environment = {"FGEXPO_PLUGINS": "plants,helpers"}
    log = tmp_path / "log"
    asked = arguments(model_folder, tmp_path / "x", *signalled(signal.SIGTERM, 4))
    process = start(command_line, asked, log=log, environment=environment)
    assert wait([process]) == [143]
    assert "rerun to resume" in log.read_text()
    assert finished(tmp_path / "x") == 4  # the batch that it was asked in is finished


class SlowAndAsked(Native):
    """The first process is slow, and the second is asked to leave while it waits."""

    def generate(self, policy, request):
        rank = torch.distributed.get_rank()
        if rank == 0:
            time.sleep(0.3)
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().generate(policy, request)


def leave_together(folder, out, strategy):
    trainer = make_trainer(Path(out), 1, [EvaluationReport(out)], devices=2, strategy=strategy)
    module = make_module(folder, engine=SlowAndAsked())
    trainer.test(module, make_data(questions_per_eval_batch=1), verbose=False)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_all_processes_leave_when_one_is_asked_to(model_folder, tmp_path, strategy):
    ranks = start_ranks(
        leave_together, model_folder, str(tmp_path / "out"), strategy, log=tmp_path / "log"
    )
    assert wait(ranks) == [143, 143]
    assert finished(tmp_path / "out") == 2  # of one batch each


def test_scores_by_tag_are_in_the_results(model_folder, tmp_path):
    questions = [Question(f"q{text}", text, "1", {"odd": str(int(text) % 2)}) for text in PLAN]
    evaluate(model_folder, tmp_path, questions=questions, break_down_by=["odd"])
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    breakdown = results["benchmarks"]["planted"]["breakdown"]
    assert breakdown["odd_0"]["pass@1"]["mean"] == pytest.approx(1 / 64)
    assert breakdown["odd_1"]["pass@32"]["mean"] == 1.0


def test_a_tokenizer_that_drops_characters_is_told(model_folder, tmp_path):
    with pytest.warns(UserWarning, match="drops characters of the questions, such as 'Wh"):
        evaluate(model_folder, tmp_path, questions=[Question("q", "Wh1", "1")])
