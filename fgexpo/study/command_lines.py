"""The runs of a study, and the command line of each."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..outside import reading
from ..seeding import hash_seed
from .spec import SEEDS, Settings, Study


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        point: name of the regime.
        arm: name of the arm.
        base: seed of the base.
        seed: the run's own.
        settings: added to those of the configs.
        tuned: value tried for the tuned setting; null outside tuning.
    """

    point: str
    arm: str
    base: int
    seed: int
    settings: Settings = field(default_factory=dict, compare=False)
    tuned: int | float | None = None

    @property
    def key(self) -> str:
        """The run's name, and its folder's."""
        tried = "" if self.tuned is None else f"-tune={self.tuned:g}"
        point = f"{self.point}-" if self.point else ""
        return f"{point}{self.arm}-base={self.base}-seed={self.seed}{tried}"


def all_runs(study: Study, seeds: list[int], tuned: int | float | None = None) -> list[Run]:
    """Every arm at every point, on every base, with these seeds; paired runs are neighbours."""
    return [
        Run(point, name, base, seed, {**study.settings, **settings, **arm.settings}, tuned)
        for point, settings in (study.points or {"": {}}).items()
        for base in study.bases.numbers
        for seed in seeds
        for name, arm in study.arms.items()
    ]


def base_name(study: Study, number: int) -> str | None:
    """The model that runs on this base start from; None for the one that their configs name."""
    if study.bases.config is not None:
        return str(study.path / "bases" / f"seed={number}")
    return study.bases.models[number] if study.bases.models else None


def run_arguments(study: Study, run: Run, extra: Settings) -> list[str]:
    """The command line of a run, which also resumes a killed one.

    Args:
        study: the study of the run.
        run: the run.
        extra: settings found meanwhile: a tuned value, a matched coefficient.
    """
    name = base_name(study, run.base)
    return [
        "fit",
        *(f"--config={config}" for config in study.configs),
        *flags({**run.settings, **extra}),
        *([] if name is None else [f"--model.name={name}"]),
        "--prepare=null",
        "--steps=null",
        f"--budget={study.rollouts}",
        f"--seed_everything={run.base * SEEDS + run.seed}",
        "--scores=ValidationScores",
        f"--trainer.logger.save_dir={Path(study.folder) / 'runs'}",
        f"--trainer.logger.name={run.key}",
        # One fixed folder, even if the run was killed before its first checkpoint.
        "--trainer.logger.version=0",
        "--ckpt_path=last",
    ]


def fingerprint(study: Study) -> str:
    """A hash of the study's config files and of the settings of its bases."""
    texts = []
    recipe = [] if study.bases.config is None else [study.bases.config]
    for config in (*study.configs, *recipe):
        with reading(config, "the YAML of a configuration", "study"):
            texts.append(Path(config).read_text())
    return f"{hash_seed(*texts, *flags(study.bases.settings)):016x}"


def flags(settings: Settings) -> list[str]:
    """Dotted settings as command-line flags."""
    return [f"--{name}={_text(value)}" for name, value in settings.items()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
