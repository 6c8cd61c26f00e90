"""A study's specification, read from its YAML."""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from ..catalogue.shipped import find_config
from ..errors import UserError
from ..outside import reading
from ..outside.names import wrong_name
from ..outside.parser import told

# Dotted settings of `python -m fgexpo fit`, in the order in which they are given.
Settings = dict[str, Any]
SEEDS = 100  # seeds are below this, so that a base's and a run's combine into one number


@dataclass
class Arm:
    """One way of training.

    Attributes:
        settings: its own settings.
        match_kl: arm whose mean KL coefficient, on the same base and seed, is this arm's constant
            one: the control that a changing coefficient must beat.
        against: arms to compare it with, run by run and question by question.
    """

    settings: Settings = field(default_factory=dict)
    match_kl: str | None = None
    against: list[str] = field(default_factory=list)


@dataclass
class Bases:
    """The models that training starts from.

    Attributes:
        config: config whose ``export`` slot writes one.
        seeds: one base per seed.
        settings: for all of them.
    """

    config: str
    seeds: list[int]
    settings: Settings = field(default_factory=dict)


@dataclass
class Tuning:
    """A setting that is tuned separately for each arm and point.

    Attributes:
        setting: its dotted name, such as ``model.optimizer.init_args.lr``.
        values: to choose from.
        seeds: seeds of the tuning runs; none of them is a seed of the study.
        benchmark: evaluation set whose final score decides; must not be the reported one.
        k: of the pass@k that decides.
    """

    setting: str
    values: list[int | float]
    seeds: list[int]
    benchmark: str
    k: int = 1


@dataclass
class Study:
    """Arms x points x bases x seeds, each run with the same budget of rollouts.

    Attributes:
        title: heading of the report.
        folder: where runs and results go.
        configs: configs of every run, as ``--config`` takes them.
        rollouts: budget of a run; rollouts that are not trained on count too.
        bases: what runs start from.
        seeds: one run per seed, arm, point and base; arms share seeds, so runs form pairs.
        arms: by name.
        settings: of every run.
        points: settings of each regime by name; empty for a single regime.
        tune: the setting to tune; null for the configs' own values.
        benchmark: evaluation set to report.
        ks: values of k of pass@k to report.
        target: pass@1 up to which rollouts are counted; null for none.
        claim: the study's question, in a sentence or two, for the report.
    """

    title: str
    folder: str
    configs: list[str]
    rollouts: int
    bases: Bases
    seeds: list[int]
    arms: dict[str, Arm]
    settings: Settings = field(default_factory=dict)
    points: dict[str, Settings] = field(default_factory=dict)
    tune: Tuning | None = None
    benchmark: str = "tiny"
    ks: list[int] = field(default_factory=lambda: [1, 8, 32])
    target: float | None = None
    claim: str = ""


def read_study(path: str) -> Study:
    """Read and check a study.

    Raises:
        UserError: naming the file, the key and what was expected.
    """
    if not Path(path).is_file():
        raise UserError(f"study: file {path!r} does not exist")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Study, None)
    with reading(path, "the YAML of a study", "study"):
        try:
            study = Study(**vars(parser.instantiate_classes(parser.parse_path(path))))
        except ArgumentError as error:
            raise UserError(f"{path}: {told(str(error))}") from error
    if not empty_keys(study):
        study.configs = [find_config(config) for config in study.configs]
        study.bases.config = find_config(study.bases.config)
    for problem in empty_keys(study) or problems(study):
        raise UserError(f"{path}: {problem}")
    return study


def empty_keys(part: Any, name: str = "") -> list[str]:
    """Keys that are null and may not be."""
    found = []
    for each in fields(part):
        value, key = getattr(part, each.name), f"{name}{each.name}"
        inside = (
            {key: value, **{f"{key}.{k}": v for k, v in value.items()}}
            if isinstance(value, dict)
            else {key: value}
        )
        for where, thing in inside.items():
            if is_dataclass(thing):
                found += empty_keys(thing, f"{where}.")
        if value is None and "None" not in str(each.type):
            found.append(f"{key} must not be null")
    return found


def problems(study: Study) -> list[str]:
    """Find values that are out of range or contradict each other."""
    found = []
    if study.rollouts < 1:
        found.append(f"rollouts must be at least 1, got {study.rollouts}")
    for key, names in {"arms": study.arms, "points": study.points}.items():
        found += [f"{key}: {wrong}" for wrong in map(wrong_name, names) if wrong]
    if not study.folder or not study.folder.isprintable():
        found.append(f"folder must be the name of a folder, got {study.folder!r}")
    for key in ("configs", "arms", "ks"):
        if not getattr(study, key):
            found.append(f"{key} must not be empty")
    all_seeds = {"seeds": study.seeds, "bases.seeds": study.bases.seeds}
    if study.tune:
        all_seeds["tune.seeds"] = study.tune.seeds
    for key, seeds in all_seeds.items():
        allowed = all(0 <= seed < SEEDS for seed in seeds)
        if not seeds or len(set(seeds)) != len(seeds) or not allowed:
            found.append(f"{key} must be different numbers from 0 to 99, at least one, got {seeds}")
    for name, arm in study.arms.items():
        for other in (*arm.against, *([arm.match_kl] if arm.match_kl else [])):
            if other not in study.arms or other == name:
                found.append(f"arms.{name} names {other!r}, which is not another arm")
        if arm.match_kl and study.arms.get(arm.match_kl, arm).match_kl:
            found.append(f"arms.{name}.match_kl: {arm.match_kl!r} is itself matched")
    if study.tune and set(study.tune.seeds) & set(study.seeds):
        found.append(f"tune.seeds {study.tune.seeds} must not be seeds of the study")
    if study.tune and study.tune.benchmark == study.benchmark:
        found.append(f"tune.benchmark must not be the reported one, {study.benchmark!r}")
    if study.tune and not study.tune.values:
        found.append("tune.values must not be empty")
    if min(study.ks, default=1) < 1 or (study.tune and study.tune.k < 1):
        found.append("ks and tune.k must be at least 1")
    files = [*study.configs, study.bases.config]
    found += [f"config {file!r} does not exist" for file in files if not Path(file).is_file()]
    return found
