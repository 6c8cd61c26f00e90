"""Runs a study from its bases to its table, in rounds of independent runs."""

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import UserError
from ..files import locked, write_json
from ..metrics import pass_at_k
from .bases import base_tasks, note_bases
from .checks import Checked
from .command_lines import Run, all_runs, base_name, fingerprint, run_arguments
from .queue import Launcher, work_off
from .spec import Settings, Study
from .table import TABLE, last_scores, read_scalars, run_folder_of, write_table
from .task import Task

Best = dict[tuple[str, str], float]  # the tuned value of each point and arm


def study_lock(study: Study) -> AbstractContextManager[None]:
    """Keep other studies out of the folder; a study that was killed keeps nobody out."""
    return locked(Path(study.folder), f"the study's folder {study.folder!r}")


def run_study(
    study: Study, launcher: Launcher, checked: Checked, say: Callable[[str], None] = print
) -> Path:
    """Make every run that is not finished yet; return the table's path.

    Args:
        study: the study.
        launcher: where to run it, bases too.
        checked: what its configurations say.
        say: prints a line about progress.

    Raises:
        UserError: when a run fails, or its folder holds a different run.
        EnvironmentFailure: when another process runs a study in this folder.
    """
    with study_lock(study):
        return _run_study(study, launcher, checked, say)


def _run_study(
    study: Study, launcher: Launcher, checked: Checked, say: Callable[[str], None]
) -> Path:
    folder = Path(study.folder)
    models = {number: base_name(study, number) or checked.named for number in study.bases.numbers}
    missing = base_tasks(study, checked.named, checked.recipe)
    contents = note_bases(study, [name for name in models.values() if name and name not in missing])
    work_off(launcher, list(missing.values()), "bases", say)
    contents |= note_bases(study, missing)
    best = tune(study, launcher, say)
    runs = all_runs(study, study.seeds)
    free = [run for run in runs if study.arms[run.arm].match_kl is None]
    matched = [run for run in runs if study.arms[run.arm].match_kl is not None]
    work_off(launcher, [_task(study, run, best) for run in free], "runs", say)
    # Only now are the values known that these runs match.
    work_off(launcher, [_task(study, run, best) for run in matched], "matched runs", say)
    named = {number: f"{name} {contents[name]}" for number, name in models.items() if name}
    write_table(study, runs, folder / TABLE, named)
    return folder / TABLE


def tune(study: Study, launcher: Launcher, say: Callable[[str], None] = print) -> Best:
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
    work_off(launcher, tasks, "tuning runs", say)
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
