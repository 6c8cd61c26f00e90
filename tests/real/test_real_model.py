"""A real language model through `fit`, a kill, a resumption, `export` and back, bit for bit."""

import json
import time

import pytest
import torch
from processes import in_folder, start, wait

from fgexpo.cli.export import export
from fgexpo.model.loading import load_model
from fgexpo.robustness.checkpoint import read_checkpoint

CONFIG = """
steps: 2
model:
  name: {model}
  template: {{class_path: Custom, init_args: {{text: "12 + 5 = 17\\n9 - 4 = 5\\n{{question}} ="}}}}
  verifier: {{class_path: MathVerifier, init_args: {{reads: last_number}}}}
  group_size: 4
  max_prompt_tokens: 64
  optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 1.0e-5, fused: true}}}}
  sampling: {{max_new_tokens: 4}}
  evaluation: {{rollouts: 1, ks: [1], sampling: {{max_new_tokens: 4}}}}
data:
  train:
    class_path: QuestionFile
    init_args: {{path: questions.jsonl, prompt_column: question, answer_column: answer}}
  val: null
  questions_per_step: 2
akl: AKLCallback
checkpoint: {{every_steps: {every}}}
trainer:
  accelerator: cpu
  logger: {{class_path: CSVLogger, init_args: {{save_dir: runs, name: a}}}}
"""
FIRST, LAST = (f"runs/a/version_0/checkpoints/step=00000{step}.ckpt" for step in (1, 2))


def begin(folder, model, every, *flags):
    folder.mkdir(exist_ok=True)
    questions = [(2, 3), (7, 4), (6, 9), (15, 3)]
    lines = [json.dumps({"question": f"{a} + {b}", "answer": str(a + b)}) for a, b in questions]
    (folder / "questions.jsonl").write_text("\n".join(lines))
    (folder / "real.yaml").write_text(CONFIG.format(model=model, every=every))
    arguments = ["fit", "--config", "real.yaml", *flags]
    return start(in_folder, folder, arguments, log=folder / "log")


def finish(process, folder):
    assert wait([process]) == [0], (folder / "log").read_text()
    return read_checkpoint(str(folder / LAST))


@pytest.mark.real
@pytest.mark.slow  # three processes with a real model: 538 MB of weights, 1.6 GB a checkpoint
def test_killed_and_resumed_it_ends_with_the_same_bits(smollm2, tmp_path):
    whole_folder, folder = tmp_path / "whole", tmp_path / "killed"
    killed = begin(folder, smollm2, 1)
    while not (folder / FIRST).exists():
        assert killed.is_alive(), (folder / "log").read_text()
        time.sleep(0.05)
    killed.kill()
    killed.join()
    assert not (folder / LAST).exists()
    again = finish(begin(folder, smollm2, 2, "--ckpt_path=last"), folder)
    whole = finish(begin(whole_folder, smollm2, 2), whole_folder)

    base = load_model(smollm2).state_dict()
    moved = 0
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, again["state_dict"][name]), name
        key = name.removeprefix("policy.")
        moved += name.startswith("policy.") and not torch.equal(weight, base[key])
    assert moved > 0.9 * len(base)  # else equality would say nothing
    states = [each["optimizer_states"][0]["state"] for each in (whole, again)]
    assert states[0].keys() == states[1].keys() and states[0]
    for one, two in zip(*(state.values() for state in states), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)

    export(str(folder / LAST), str(tmp_path / "exported"))
    for name, weight in load_model(str(tmp_path / "exported")).state_dict().items():
        assert torch.equal(weight, again["state_dict"][f"policy.{name}"]), name
