import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from near import same
from processes import in_folder, start, wait

ROOT = Path(__file__).parents[1]
SHORT_RUN = [
    *("--steps=2", "--prepare=null", "--data.questions_per_step=4", "--model.group_size=4"),
    *("--model.mini_batch_questions=2", "--model.evaluation.rollouts=1"),
    *("--model.evaluation.ks=[1]", "--data.val.tiny.init_args.per_cell=1"),
]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_python_example_runs_in_fifteen_lines(model_folder, tmp_path):
    (block,) = re.findall(r"```python\n(import torch.*?)```", README, re.DOTALL)
    assert len(block.splitlines()) <= 15
    code = block.replace("checkpoints/tiny-base", model_folder).replace(
        "StopAfter(20)", "StopAfter(2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "step 2: val/tiny/pass@1" in done.stdout


def test_the_example_rules_plug_in(model_folder, tmp_path):
    (block,) = re.findall(r"```python\n# my_pkg.py\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_pkg.py").write_text(block)
    config = str(ROOT / "configs/tiny.yaml")
    arguments = ["fit", "--config", config, "--akl.rho=Cautious", "--model.loss=MyCISPO"]
    process = start(
        in_folder,
        tmp_path,
        [*arguments, "--print_config"],
        log=tmp_path / "log",
        environment={"FGEXPO_PLUGINS": "my_pkg"},
    )
    said = (wait([process]), (tmp_path / "log").read_text())
    assert said[0] == [0] and "my_pkg.Cautious" in said[1] and "my_pkg.MyCISPO" in said[1], said


def test_what_algorithms_md_says_of_ones_own_rules_holds(model_folder, tmp_path):
    """The two classes of its last section: their length, a run of two steps, and their maths."""
    page = (ROOT / "docs/algorithms.md").read_text()
    (block,) = re.findall(r"```python\n# my_rules.py\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"FGEXPO_PLUGINS=my_rules fgexpo (fit --config tiny.*)", page)
    classes = block[block.index("class ") :]
    assert len([line for line in classes.splitlines() if line.strip()]) <= 25
    (tmp_path / "my_rules.py").write_text(block)
    flags = [*SHORT_RUN, f"--model.name={model_folder}", "--model.rewards=[helpers.Parity]"]
    process = start(
        in_folder,
        tmp_path,
        [*command.split(), *flags],
        log=tmp_path / "log",
        environment={"FGEXPO_PLUGINS": "my_rules,helpers"},
    )
    assert wait([process]) == [0], (tmp_path / "log").read_text()
    example = {}
    exec(block, example)
    rewards_QG = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.float64)
    found = example["HardOnly"]()(rewards_QG)
    same(found, torch.tensor([[0.75, -0.25, -0.25, -0.25], [0, 0, 0, 0]], dtype=torch.float64))
    ratio, logp = torch.tensor([[2.0], [2.0], [0.5]]).double(), torch.full((3, 1), -1.0).double()
    loss = example["TOPR"]().policy_loss(ratio, logp, torch.tensor([1.0, -1.0, -1.0]).double())
    same(loss, torch.tensor([[1.0], [-1.0], [-0.5]], dtype=torch.float64))


def test_the_example_loss_caps_the_weight_and_not_the_gradient():
    (block,) = re.findall(r"```python\n# my_pkg.py\n(.*?)```", README, re.DOTALL)
    example = {}
    exec(block, example)
    logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    ratio = torch.tensor([[0.5, 9.0]])
    loss = example["MyCISPO"](cap=4.0).policy_loss(ratio, logp, torch.tensor([2.0]))
    loss.sum().backward()
    assert loss.tolist() == [[1.0, 16.0]]  # -min(ratio, cap) * advantage * logp
    assert logp.grad.tolist() == [[-1.0, -8.0]]
    assert example["Cautious"]()(0.5) == 0.7
