"""A study's specification: what its YAML may say. It imports nothing heavy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
    """The models that training starts from; if left out, the one in the configs' ``model.name``.

    Attributes:
        config: config whose ``export`` slot makes one for each of ``seeds``.
        seeds: one base per seed, with ``config``.
        settings: settings of all models that ``config`` makes.
        models: models that exist: folders or hub ids. Runs start from each of them.
    """

    config: str | None = None
    seeds: list[int] = field(default_factory=list)
    settings: Settings = field(default_factory=dict)
    models: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        """The number of each base in names and tables: its seed, or its place in the list."""
        if self.config is not None:
            return self.seeds
        return list(range(len(self.models) or 1))


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
class Slurm:
    """What a run asks of a SLURM cluster.

    Attributes:
        partition: where to submit; null for the cluster's default.
        minutes: time limit of a job. A run saves and stops before it, and is submitted again.
        gpus: GPUs of a run.
        cpus: CPU cores of a run; null for the cluster's default.
        at_once: most jobs that run side by side; null for as many as the cluster allows.
        extra: other options of ``sbatch``, by their long names, such as ``account``.
    """

    partition: str | None = None
    minutes: int = 240
    gpus: int = 1
    cpus: int | None = None
    at_once: int | None = None
    extra: dict[str, str | int | float | bool] = field(default_factory=dict)


@dataclass
class Study:
    """Arms x points x bases x seeds, each run with the same budget of rollouts.

    Attributes:
        configs: configs of every run, as ``--config`` takes them.
        rollouts: budget of a run; rollouts that are not trained on count too.
        arms: ways of training, by name.
        seeds: one run per seed, arm, point and base; arms share seeds, so runs form pairs.
        bases: what runs start from.
        settings: settings of every run.
        points: settings of each regime by name; empty for a single regime.
        tune: the setting to tune; null for the configs' own values.
        benchmark: evaluation set to report.
        ks: values of k of pass@k to report; if left out, those of ``model.evaluation.ks``.
        target: pass@1 up to which rollouts are counted; null for none.
        title: heading of the report; if left out, the file's name.
        claim: the study's question, in a sentence or two, for the report.
        folder: where runs and results go; if left out, ``studies/`` and the file's name.
        launcher: where runs are made: ``local`` or ``slurm``.
        slurm: what a run asks of the cluster, with ``launcher: slurm``.
    """

    configs: list[str]
    rollouts: int
    arms: dict[str, Arm]
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    bases: Bases = field(default_factory=Bases)
    settings: Settings = field(default_factory=dict)
    points: dict[str, Settings] = field(default_factory=dict)
    tune: Tuning | None = None
    benchmark: str = "tiny"
    ks: list[int] = field(default_factory=list)
    target: float | None = None
    title: str = ""
    claim: str = ""
    folder: str = ""
    launcher: Literal["local", "slurm"] = "local"
    slurm: Slurm = field(default_factory=Slurm)

    @property
    def path(self) -> Path:
        """The study's folder."""
        return Path(self.folder)
