"""What a study is going to do, in five lines."""

from pathlib import Path

from .spec import Study


def header(study: Study, report: str, jobs: int) -> list[str]:
    """Arms, runs, what they start from, where they are made, and where results go.

    Args:
        study: the study.
        report: the Markdown that will be written.
        jobs: runs at once on this machine.
    """
    arms, points, bases = len(study.arms), len(study.points), len(study.bases.numbers)
    each = " x ".join(
        [
            _count(arms, "arm"),
            *([_count(points, "point")] if points else []),
            _count(bases, "base"),
            _count(len(study.seeds), "seed"),
        ]
    )
    runs = arms * max(1, points) * bases * len(study.seeds)
    tuned = "" if study.tune is None else f", after {_count(tuning_runs(study), 'run')} to tune"
    rows = {
        "study": f"{study.title}: {', '.join(study.arms)}",
        "runs": f"{runs:,} ({each}) of {study.rollouts:,} rollouts{tuned}",
        "bases": _bases(study),
        "where": _where(study, jobs),
        "folder": f"{study.folder}, report {report}",
    }
    return [f"{name:8}{text}" for name, text in rows.items()]


def tuning_runs(study: Study) -> int:
    """How many runs the tuned setting costs."""
    if study.tune is None:
        return 0
    arms = sum(arm.match_kl is None for arm in study.arms.values())
    per_value = arms * max(1, len(study.points)) * len(study.bases.numbers) * len(study.tune.seeds)
    return per_value * len(study.tune.values)


def _bases(study: Study) -> str:
    bases = study.bases
    if bases.config is not None:
        return f"{_count(len(bases.seeds), 'model')} made by {bases.config}, unless there already"
    return ", ".join(bases.models) or f"the model.name of {Path(study.configs[-1]).name}"


def _where(study: Study, jobs: int) -> str:
    if study.launcher == "local":
        return f"this machine, {jobs} at once"
    slurm = study.slurm
    partition = f", partition {slurm.partition}" if slurm.partition else ""
    room = "" if slurm.at_once is None else f", {slurm.at_once} at once"
    return f"SLURM{partition}, {_count(slurm.gpus, 'GPU')} and {slurm.minutes} min per job{room}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
