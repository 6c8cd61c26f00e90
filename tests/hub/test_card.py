"""A card says what was trained, by what, and only scores that are proven to be of its weights."""

import html
import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers import EvenIsRight, fit, make_data, make_module, make_trainer
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from fgexpo.callbacks import EvaluationReport, ExportPolicy, RolloutCheckpoint
from fgexpo.cli.export import export
from fgexpo.errors import UserError
from fgexpo.evaluation import EvaluationSettings
from fgexpo.hub import proof
from fgexpo.hub.base import Base, find_base
from fgexpo.hub.card import Origin, make_card
from fgexpo.hub.markdown import code, text
from fgexpo.hub.usage import example
from fgexpo.model.lora import LoRA
from fgexpo.rollout import Sampling
from fgexpo.templates import Custom, PromptEncoder

CONFIG = {
    "model": {
        "class_path": "fgexpo.module.GRPOModule",
        "init_args": {
            "name": "BASE",
            "dtype": "float64",
            "kl_coef": 0.02,
            "group_size": 4,
            "template": {"class_path": "fgexpo.templates.Plain", "init_args": {"answer": None}},
            "max_prompt_tokens": 32,
            "sampling": {"max_new_tokens": 8},
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        },
    },
    "data": {
        "class_path": "CurriculumDataModule",
        "init_args": {
            "curriculum": {"class_path": "fgexpo.curriculum.Gaussian", "init_args": {"std": 0.2}},
            "train": {"class_path": "QuestionFile", "init_args": {"path": "/home/me/my.jsonl"}},
        },
    },
    "akl": {"class_path": "AKLCallback", "init_args": {"rho": {"class_path": "fgexpo.kl.Tanh"}}},
}


def train(model_folder, folder, **options):
    """A run of the command line's layout, without the command line."""
    saver = RolloutCheckpoint(dirpath=str(folder / "checkpoints"))
    trainer = {"enable_checkpointing": True}
    fit(model_folder, folder, 1, [saver], trainer=trainer, **options)
    config = yaml.safe_dump(CONFIG).replace("BASE", model_folder)
    (folder / "config.yaml").write_text(config)
    return str(folder / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def checkpoint(model_folder, tmp_path_factory):
    return train(model_folder, tmp_path_factory.mktemp("run"))


def evaluate(model, out, ckpt_path=None, **options):
    settings = EvaluationSettings(2, [1, 2], Sampling(max_new_tokens=8))
    module = make_module(model, verifier=EvenIsRight(), evaluation=settings, **options)
    trainer = make_trainer(out, 1, [EvaluationReport(str(out))])
    trainer.test(module, make_data(), ckpt_path=ckpt_path, verbose=False)
    return out / "results.json"


def read(folder):
    content = (folder / "README.md").read_text()
    return ModelCard(content).data.to_dict(), content


def test_a_card_without_scores_says_so_and_how_to_measure_them(
    checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    lines = export(checkpoint, "mine")
    assert lines[0] == "wrote mine, with a model card"
    run = checkpoint.removesuffix("/checkpoints/last.ckpt")
    measured = f"`fgexpo test --config {run}/config.yaml --ckpt_path {checkpoint}` measures some"
    assert lines[1].startswith("scores: none was measured; ") and measured in lines[1]
    data, content = read(tmp_path / "mine")
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "text-generation"
    assert {"fgexpo", "grpo", "akl", "gcs"} <= set(data["tags"])
    assert not {"base_model", "license", "model-index"} & data.keys(), "nothing is guessed"
    assert "No score was measured." in content
    assert "fgexpo test --config CONFIG --model.name mine" in content
    for row in (
        "| curriculum | `Gaussian(std=0.2)` |",
        "| KL rule | `AKLCallback(rho=Tanh)` |",
        "| training questions | `QuestionFile(path=my.jsonl)` |",
        "| optimizer | `SGD(lr=0.1)` |",
        "| steps | `1` |",
        "| seed | `0` |",
    ):
        assert row in content
    assert "/home/me" not in content and f"torch {torch.__version__}" in content
    # The three lines run as they stand, beside the folder.
    (example,) = re.findall(r"```python\n(.*?)```", content, re.DOTALL)
    assert len(example.splitlines()) == 5
    exec(example, {})
    assert capsys.readouterr().out.endswith("\n")


def test_scores_are_proven_whatever_was_evaluated(checkpoint, model_folder, tmp_path, monkeypatch):
    """The checkpoint or the folder made of it, in the run's precision or in a lower one."""
    monkeypatch.chdir(tmp_path)
    export(checkpoint, "mine")
    of_folder = evaluate("mine", tmp_path / "evaluations" / "a", dtype="bfloat16")
    of_base = evaluate(model_folder, tmp_path / "evaluations" / "base")
    assert export(checkpoint, "found")[-1] == "scores: evaluations/a/results.json"
    of_checkpoint = evaluate(model_folder, tmp_path / "evaluations" / "b", checkpoint)
    for number, path in enumerate((of_folder, of_checkpoint)):
        assert export(checkpoint, f"named{number}", str(path))[-1] == f"scores: {path}"
    data, content = read(tmp_path / "named1")
    (benchmark,) = data["model-index"][0]["results"]
    assert benchmark["dataset"] == {"name": "tiny", "type": "tiny"}
    values = {each["type"]: each["value"] for each in benchmark["metrics"]}
    assert values.keys() == {"pass@1", "pass@2"} and 0 < values["pass@1"] <= values["pass@2"]
    (row,) = [line for line in content.splitlines() if line.startswith("| tiny | 6 |")]
    assert row.split("|")[3].strip().startswith(f"{values['pass@1']:.3f} [0.")
    assert "| completions per question | `2` |" in content and "max_new_tokens=8" in content
    with pytest.raises(UserError, match="was measured on other weights than this checkpoint's"):
        export(checkpoint, "other", str(of_base))
    with pytest.raises(UserError, match=r"2 evaluations of these weights are here.*name one"):
        export(checkpoint, "several")
    assert not (tmp_path / "other").exists() and not (tmp_path / "several").exists()
    of_base.write_text("{")
    of_checkpoint.unlink()
    first, *_, last = export(checkpoint, "passed_over")
    assert "base/results.json' cannot be read" in first and "passed over" in first
    assert last == "scores: evaluations/a/results.json"


def test_scores_of_adapters_are_proven(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lora = LoRA(rank=4, alpha=8)
    checkpoint = train(model_folder, tmp_path / "run", lora=lora)
    export(checkpoint, "merged")
    one = evaluate("merged", tmp_path / "one")
    two = evaluate(model_folder, tmp_path / "two", checkpoint, lora=lora, dtype="float32")
    for number, path in enumerate((one, two)):
        assert export(checkpoint, f"named{number}", str(path))[-1] == f"scores: {path}"
    other = evaluate(model_folder, tmp_path / "other")
    with pytest.raises(UserError, match="was measured on other weights"):
        export(checkpoint, "refused", str(other))


def test_a_configuration_of_another_run_is_not_used(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint, tmp_path / "step.ckpt")
    first, *_ = export("step.ckpt", "without")
    assert "no config.yaml lies beside 'step.ckpt'" in first
    content = read(tmp_path / "without")[1]
    assert "configuration is not known" in content and "| optimizer.lr | `0.1` |" in content
    other = yaml.safe_dump(CONFIG).replace("lr: 0.1", "lr: 0.2")
    (tmp_path / "config.yaml").write_text(other)
    first, *_ = export("step.ckpt", "with")
    assert "is of another run (model.optimizer.lr is 0.2 there and 0.1 in the ch" in first
    other = yaml.safe_dump(CONFIG).replace(
        "class_path: fgexpo.templates.Plain", "class_path: X.Plain"
    )
    (tmp_path / "config.yaml").write_text(other)
    first, *_ = export("step.ckpt", "plugin")
    assert first.startswith("note: the card has no example of a prompt: ")
    other = yaml.safe_dump(CONFIG).replace("answer: null", "stop_tokens: ['1']")
    (tmp_path / "config.yaml").write_text(other)
    assert export("step.ckpt", "template")[0].startswith("note: the card has no example of a pro")


def test_no_configuration_that_is_not_the_runs_is_used(
    checkpoint, model_folder, other_model_folder, tmp_path, monkeypatch
):
    """Beside a folder of checkpoints may lie a project's own, or another run's with its base."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    path = shutil.copy(checkpoint, "checkpoints/last.ckpt")
    mine = yaml.safe_dump(CONFIG).replace("BASE", model_folder)
    theirs = yaml.safe_dump(CONFIG).replace("BASE", other_model_folder)
    for number, (written, words) in enumerate(
        [
            ("name: my project\n", "is no configuration of a run, so the card names only"),
            ("model: [\n", "cannot be read as the YAML of a run's configuration"),
            ("model: {name: me/other}\n", "nothing that the checkpoint holds is set there"),
            (f"seed_everything: 1\n{mine}", "seed_everything is 1 there and 0 in the checkpoint"),
            (mine.replace("lr: 0.1", "{momentum: 0.9}"), "momentum is 0.9 there and 0 in the ch"),
            (mine.replace("templates.Plain", "templates.X"), "template is X there and Plain in"),
            (theirs, "are not those that the run"),
        ]
    ):
        (tmp_path / "config.yaml").write_text(written)
        note, *_, scores = export(path, f"out{number}")
        assert note.startswith("note: ") and words in note
        assert "--config CONFIG" in scores
        assert "configuration is not known" in read(tmp_path / f"out{number}")[1]
    (tmp_path / "config.yaml").write_text(f"seed_everything: 0\n{mine}")
    assert export(path, "mine")[0] == "wrote mine, with a model card"


def test_weights_are_hashed_once_for_all_evaluations(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(checkpoint, "first")
    found = evaluate("first", tmp_path / "evaluations" / "mine")
    for number in range(3):
        other = json.loads(found.read_text())
        other["identity"]["weights"] = f"X {number}"
        (tmp_path / "evaluations" / str(number)).mkdir()
        (tmp_path / "evaluations" / str(number) / "results.json").write_text(json.dumps(other))
    hashed = []
    real = proof.fingerprint_weights
    monkeypatch.setattr(
        proof, "fingerprint_weights", lambda *given: hashed.append(1) or real(*given)
    )
    monkeypatch.setattr("fgexpo.cli.export.is_other_base", lambda *given: False)
    assert export(checkpoint, "second")[-1] == "scores: evaluations/mine/results.json"
    assert len(hashed) == 2  # of the folder's weights and of the checkpoint's


def test_training_writes_the_same_card(model_folder, tmp_path, capsys):
    for _ in range(2):
        fit(model_folder, tmp_path, 1, [ExportPolicy(str(tmp_path / "end"))])
    out = capsys.readouterr().out
    assert f"export: wrote {tmp_path}/end\n" in out
    # A model that is there is not replaced in silence.
    assert f"export.out: '{tmp_path}/end' exists; the end of this run replaces it" in out
    assert f"export: wrote {tmp_path}/end, over the model that was there" in out
    content = read(tmp_path / "end")[1]
    assert "No score was measured" in content and "| steps | `1` |" in content
    assert "pipeline(\"text-generation\", model='end')" in content


def test_a_card_that_cannot_be_made_loses_no_weights(model_folder, tmp_path, capsys):
    base = shutil.copytree(model_folder, tmp_path / "base")
    (base / "README.md").write_text("---\nlicense: [\n---\n")
    saver = RolloutCheckpoint(dirpath=str(tmp_path / "checkpoints"))
    slots = [saver, ExportPolicy(str(tmp_path / "end"))]
    fit(str(base), tmp_path, 1, slots, trainer={"enable_checkpointing": True})
    config = yaml.safe_dump(CONFIG).replace("BASE", str(base))
    (tmp_path / "config.yaml").write_text(config)
    note, *_ = export(str(tmp_path / "checkpoints" / "last.ckpt"), str(tmp_path / "by_command"))
    for words, folder in ((capsys.readouterr().out, "end"), (note, "by_command")):
        assert "README.md' cannot be read as the model card of the base" in words
        assert "so the license of the base is not known" in words
        data, content = read(tmp_path / folder)
        assert "license" not in data and "The license of the base is not known" in content
        assert (tmp_path / folder / "model.safetensors").is_file()
    (tmp_path / "config.yaml").write_text("model: [")
    fit(model_folder, tmp_path, 1, [ExportPolicy(str(tmp_path / "bare"))])
    assert "export: no model card is written: " in capsys.readouterr().out
    assert (tmp_path / "bare" / "model.safetensors").is_file()


HOSTILE = "[x](http://evil) <b>|`*_ &amp; $x$\n# head"


def test_what_users_have_named_is_no_markup(tokenizer):
    assert text("AIME-24 v1.2") == "AIME-24 v1.2" and text("# x") == r"\# x"
    assert code("a|b`c") == "``a\\|b`c``" and code("`") == "`` ` ``"
    assert text("\ud800") == "?" and "\x1b" not in text("\x1b[31m")
    score = {"pass@1": 0.5}
    results = {
        "model": HOSTILE,
        "identity": {"sampling": HOSTILE, "dtype": HOSTILE},
        "benchmarks": {HOSTILE: {"per_question": {"q": score}}},
    }
    config = {"model": {"init_args": {"loss": HOSTILE, "name": HOSTILE}}, "akl": HOSTILE}
    encoder = PromptEncoder(tokenizer, Custom("```\n{question}\n```"), 64)
    saved, base = {"rollout_step": 3, "seed": 0}, Base(HOSTILE)
    one_line = HOSTILE.replace("\n", " ")
    card = make_card(Origin(HOSTILE, HOSTILE, saved, base, config, encoder, results))
    body = str(card).split("\n---\n", 1)[1]
    page = MarkdownIt("commonmark").enable("table").render(body)
    assert "<b>" not in page and 'href="http://evil' not in page
    assert page.count("<h1>") == 1 and page.count("<h2>") == 4 and page.count("<pre>") == 1
    shown = [html.unescape(cell) for cell in re.findall("<td.*?>(.*?)</td>", page)]
    assert shown.count(f"<code>{one_line}</code>") == 5, shown
    assert one_line in shown  # the benchmark
    assert card.data.eval_results[0].dataset_name == HOSTILE


def test_the_example_opens_a_prompt_once():
    """A template that writes what the tokenizer opens a text with, and one that leaves it to it."""

    class Opening:
        """Opens a text with its token 0."""

        def __call__(self, text, add_special_tokens=True):
            plain = [9] if text.startswith("<s>") else []
            return SimpleNamespace(input_ids=[9] * add_special_tokens + plain + [len(text)])

    for own, expected in ((False, "ask(prompt, max_new"), (True, "add_special_tokens=False")):
        rendered = "<s>x" if own else "x"
        template = SimpleNamespace(render=lambda question, tokenizer, text=rendered: text)
        encoder = SimpleNamespace(tokenizer=Opening(), template=template)
        encoder.tokens = lambda question, text=rendered: [9, len(text)]
        assert expected in example(encoder, "m", 8)
    encoder.tokens = lambda question: [1, 2, 3]
    assert example(encoder, "m", 8) is None


def test_base_and_license_are_those_of_its_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_base("Qwen/Qwen3-8B-Base") == Base("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B-Base")
    assert find_base("checkpoints/tiny-base", made_here=True) == Base("tiny-base")
    assert find_base("/models/secret") == Base("secret") and find_base("a/b/c") == Base("c")
    assert find_base("x", from_scratch=True) == Base("random weights")
    folder = tmp_path / "base"
    folder.mkdir()
    assert find_base("base") == Base("base")
    (folder / "README.md").write_text(
        "---\nlicense: other\nlicense_name: mine\nbase_model: me/first\n---\n# x\n"
    )
    license = {"license": "other", "license_name": "mine"}
    assert find_base("base") == Base("base", "me/first", license)
    saved = {"rollout_step": 3, "seed": 0}
    data = make_card(Origin("m", "m", saved, find_base("base"))).data.to_dict()
    assert data["license"] == "other" and data["base_model"] == "me/first"
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    unread = find_base("base")
    assert unread.license == {} and "model.name: 'base/README.md' cannot be" in str(unread.note)
