"""Recipes: overlays of a few lines, each with its source, over any config."""

import csv
import math
from pathlib import Path

import pytest
import yaml
from test_cli import run
from test_configs import parsed

from fgexpo.cli.typos import check_keys

ROOT = Path(__file__).parents[2]
FULL_SIZE = [ROOT / "configs" / f"{name}.yaml" for name in ("r1_1p5b", "qwen3_8b")]
RECIPES = sorted((ROOT / "configs/recipes").glob("*.yaml"))
SHORT = [
    "--steps=2",
    "--prepare=null",
    "--data.questions_per_step=16",
    "--data.train.per_cell=2",
    "--data.val.tiny.init_args.per_cell=1",
    "--model.group_size=8",
    "--model.sampling.max_new_tokens=7",
    "--trainer.limit_val_batches=0",
    "--model.verifier=helpers.EvenIsRight",
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=.",
    "--trainer.logger.name=run",
]
# What the comments in a recipe say about a config with other lengths.
OVERLONG = "{class_path: Overlong, init_args: {max_tokens: 7, buffer: 2, weight: 0.5}}"
REWARDS = {"dapo": f"[helpers.Parity, {OVERLONG}]"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_over_the_tiny_config(model_folder, tmp_path, path):
    """Two steps of a random model, whose rewards are the parity of its texts' lengths.

    What validation does is no business of a recipe.
    """
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


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_few_lines_with_a_source_and_parses(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 20 and "arXiv" in text
    for base in FULL_SIZE:
        check_keys(["--config", str(base), "--config", str(path)])
    parsed(["fit", "--config", str(FULL_SIZE[0]), "--config", str(path)])


def test_the_full_size_configs_fill_their_slots_alike():
    """So what lies over one of them is parsed over the other as well."""
    one, two = (list(classes(yaml.safe_load(text.read_text()))) for text in FULL_SIZE)
    assert one == two and len(one) > 5


def classes(value, key=""):
    """The classes that are named below a value, each with the key of its place."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from classes(below, f"{key}.{name}")
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from classes(below, f"{key}.{number}")
    elif key.endswith("class_path"):
        yield key, value


def test_the_table_of_algorithms_names_every_recipe():
    rows = (ROOT / "docs/algorithms.md").read_text().splitlines()
    named = set()
    for row in rows:
        cells = row.strip("| ").split(" | ")
        if row.count("|") == 7 or row.endswith("` |"):
            named |= {cell.strip("` ") for cell in cells[-1].split(", ")}
    assert {path.stem for path in RECIPES} <= named
