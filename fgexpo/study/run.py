"""Runs a study from its bases to its table, in rounds of independent runs."""

import statistics
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..files import locked, write_json
from ..metrics import pass_at_k
from ..outside import reading
from ..seeding import hash_seed
from .command_lines import (
    Run,
    all_runs,
    base_arguments,
    fingerprint,
    making_folder,
    run_arguments,
)
from .queue import Jobs, Task, work_off
from .spec import Settings, Study
from .table import TABLE, last_scores, read_scalars, run_folder_of, write_table

# Loggers whose files the table is made of.
READABLE = ("TensorBoardLogger", "CSVLogger", "CSVRun")
Best = dict[tuple[str, str], float]  # the tuned value of each point and arm


def run_study(study: Study, jobs: Jobs) -> Path:
    """Make every run that is not finished yet; return the table's path.

    Args:
        study: the study.
        jobs: how to run it.

    Raises:
        UserError: when a run fails, or its folder holds a different run.
        EnvironmentFailure: when another process runs a study in this folder.
    """
    with study_lock(study):
        return _run_study(study, jobs)


def study_lock(study: Study) -> AbstractContextManager[None]:
    """Keep other studies out of the folder; a study that was killed keeps nobody out."""
    return locked(Path(study.folder), f"the study's folder {study.folder!r}")


def _run_study(study: Study, jobs: Jobs) -> Path:
    folder = Path(study.folder)
    check(study, jobs)
    facts = fingerprint(study)
    bases = [
        Task(f"base={seed}", making_folder(study, seed), base_arguments(study, seed), facts)
        for seed in study.bases.seeds
    ]
    work_off(jobs, bases, "bases")
    best = tune(study, jobs)
    runs = all_runs(study, study.seeds)
    free = [run for run in runs if study.arms[run.arm].match_kl is None]
    matched = [run for run in runs if study.arms[run.arm].match_kl is not None]
    work_off(jobs, [_task(study, run, best) for run in free], "runs")
    # Only now are the values known that these runs match.
    work_off(jobs, [_task(study, run, best) for run in matched], "matched runs")
    write_table(study, runs, folder / TABLE)
    return folder / TABLE


def check(study: Study, jobs: Jobs) -> None:
    """Parse the settings of every arm at every point, before any run starts.

    Raises:
        UserError: naming an arm whose settings `fit` rejects, or whose evaluation lacks something
            that the report needs.
    """
    some = {(run.point, run.arm): run for run in all_runs(study, study.seeds[:1])}
    tasks = {}
    for (point, arm), run in some.items():
        tuned = {} if study.tune is None else {study.tune.setting: study.tune.values[0]}
        name = f"{point}-{arm}".lstrip("-")
        arguments = [*run_arguments(study, run, tuned), "--print_config"]
        # Rejected settings may be corrected later, so each set of settings gets its own folder.
        folder = Path(study.folder) / "checks" / f"{name}-{hash_seed(*arguments):016x}"
        tasks[name] = Task(name, folder, arguments, fingerprint(study))
    work_off(jobs, list(tasks.values()), "checks")
    for name, task in tasks.items():
        with reading(task.folder / "log", "the configuration that `fit` printed", "study"):
            log = (task.folder / "log").read_text()
            config = yaml.safe_load(log[log.index("seed_everything:") :])
        for problem in judged_otherwise(study, config):
            raise UserError(f"study: arm {name}: {problem}")


def judged_otherwise(study: Study, config: Any) -> list[str]:
    """Reasons why the study could not report a run with this configuration."""
    names = set(config["data"]["init_args"]["val"] or {})
    found = [
        f"no evaluation set {name!r} in data.val, only {sorted(names)}"
        for name in (study.benchmark, *([study.tune.benchmark] if study.tune else []))
        if name not in names
    ]
    loggers = config["trainer"]["logger"]
    loggers = loggers if isinstance(loggers, list) else [loggers]
    paths = [each["class_path"] if isinstance(each, dict) else str(each) for each in loggers]
    kinds = [path.rpartition(".")[2] for path in paths]
    if not set(kinds) & set(READABLE):
        found.append(
            f"trainer.logger is {' and '.join(kinds)}, and the report reads the files of "
            f"{' or '.join(READABLE)} only"
        )
    rollouts = config["model"]["init_args"]["evaluation"]["rollouts"]
    if max(study.ks) > rollouts:
        found.append(f"ks {study.ks} need more than model.evaluation.rollouts = {rollouts}")
    return found


def tune(study: Study, jobs: Jobs) -> Best:
    """Each arm's best value of the tuned setting at every point, by its mean final score.

    A matched arm uses the value of the arm that it matches.
    """
    if study.tune is None:
        return {}
    tried = {
        value: [
            run
            for run in all_runs(study, study.tune.seeds, value)
            if study.arms[run.arm].match_kl is None
        ]
        for value in study.tune.values
    }
    tasks = [_task(study, run, {}) for runs in tried.values() for run in runs]
    work_off(jobs, tasks, "tuning")
    scores: dict[tuple[str, str], dict[float, list[float]]] = {}
    for value, runs in tried.items():
        for run in runs:
            by_value = scores.setdefault((run.point, run.arm), {})
            by_value.setdefault(value, []).append(_final_score(study, run))
    means = {
        place: {value: statistics.mean(found) for value, found in by_value.items()}
        for place, by_value in scores.items()
    }
    write_json(
        Path(study.folder) / "tuning.json",
        {f"{point}/{arm}".lstrip("/"): found for (point, arm), found in means.items()},
    )
    best = {place: max(found, key=found.__getitem__) for place, found in means.items()}
    for point in study.points or {"": {}}:
        for name, arm in study.arms.items():
            if arm.match_kl is not None:
                best[point, name] = best[point, arm.match_kl]
    return best


def _final_score(study: Study, run: Run) -> float:
    assert study.tune is not None
    last = last_scores(study, run)
    correct = last["correct"][study.tune.benchmark].values()
    return statistics.mean(pass_at_k(last["n"], c, study.tune.k) for c in correct)


def _task(study: Study, run: Run, best: Best) -> Task:
    extra: Settings = {}
    if study.tune is not None:
        value = best[run.point, run.arm] if run.tuned is None else run.tuned
        extra[study.tune.setting] = value
    source = study.arms[run.arm].match_kl
    if source is not None:
        extra["model.kl_coef"] = mean_kl_coef(study, Run(run.point, source, run.base, run.seed))
    folder = Path(study.folder) / "runs" / run.key
    return Task(run.key, folder, run_arguments(study, run, extra), fingerprint(study))


def mean_kl_coef(study: Study, run: Run) -> float:
    """A run's mean KL coefficient, to six digits.

    Raises:
        UserError: when its arm has no controller of the coefficient.
    """
    logged = read_scalars(run_folder_of(study, run)).get("akl/kl_coef")
    if not logged:
        raise UserError(f"study: arm {run.arm!r} has no KL controller that another could match")
    return float(f"{statistics.mean(logged.values()):.6g}")
