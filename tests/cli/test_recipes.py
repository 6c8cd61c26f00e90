"""Recipes: overlays of a few lines, each with its source, over any config."""

import csv
import math
from pathlib import Path

import pytest
from test_cli import run
from test_configs import parsed

from fgexpo.cli.typos import check_keys

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs/recipes").glob("*.yaml"))
SHORT = [
    "--steps=2",
    "--prepare=null",
    "--data.questions_per_step=16",
    "--data.train.per_cell=2",
    "--data.val.tiny.init_args.per_cell=1",
    "--model.group_size=8",
    "--model.sampling.max_new_tokens=7",
    "--model.evaluation.rollouts=1",
    "--model.evaluation.ks=[1]",
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=.",
    "--trainer.logger.name=run",
]
# What the comments in a recipe say about a config with other lengths.
OVERLONG = "{class_path: Overlong, init_args: {max_tokens: 7, buffer: 2, weight: 0.5}}"
REWARDS = {"dapo": f"[helpers.Parity, {OVERLONG}]"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_over_the_tiny_config(model_folder, tmp_path, path):
    """Two steps of a random model, whose rewards are the parity of its texts' lengths."""
    configs = ["--config", str(ROOT / "configs/tiny.yaml"), "--config", str(path)]
    own = [
        f"--model.name={model_folder}",
        f"--model.rewards={REWARDS.get(path.stem, '[helpers.Parity]')}",
    ]
    done = run(["fit", *configs, *SHORT, *own], tmp_path, FGEXPO_PLUGINS="helpers")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "run/version_0/metrics.csv").open()))
    norms = [float(row["grad_norm"]) for row in rows if row.get("grad_norm")]
    losses = [float(row["loss"]) for row in rows if row.get("loss")]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    assert len(norms) == 2 and min(norms) > 0


@pytest.mark.parametrize("base", ["r1_1p5b", "qwen3_8b"])
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_few_lines_with_a_source_and_parses(path, base, capsys):
    text = path.read_text()
    assert len(text.splitlines()) <= 20 and "arXiv" in text
    configs = ["--config", str(ROOT / f"configs/{base}.yaml"), "--config", str(path)]
    check_keys(configs)
    parsed(["fit", *configs], capsys)


def test_the_table_of_algorithms_names_every_recipe():
    rows = (ROOT / "docs/algorithms.md").read_text().splitlines()
    named = set()
    for row in rows:
        cells = row.strip("| ").split(" | ")
        if row.count("|") == 7 or row.endswith("` |"):
            named |= {cell.strip("` ") for cell in cells[-1].split(", ")}
    assert {path.stem for path in RECIPES} <= named
