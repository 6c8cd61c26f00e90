import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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


@pytest.mark.slow
def test_the_example_rule_plugs_in(model_folder, tmp_path):
    (block,) = re.findall(r"```python\n# my_pkg.py\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_pkg.py").write_text(block)
    config = str(ROOT / "configs/tiny.yaml")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fgexpo",
            "fit",
            "--config",
            config,
            "--akl.rho=Cautious",
            "--print_config",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "FGEXPO_PLUGINS": "my_pkg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "my_pkg.Cautious" in done.stdout, done.stderr


def test_every_file_and_config_it_names_exists():
    for name in set(
        re.findall(r"(?:configs|docs|datamodules|callbacks|notebooks)/[\w./-]+\w", README)
    ):
        assert (ROOT / name).exists(), name
