"""All that can be wrong with a study, found before its first base is made."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, several
from .bases import base_arguments, identify, prepare_arguments
from .command_lines import all_runs, run_arguments
from .lines import Lines
from .queue import Launcher, Progress, drain
from .spec import Study
from .task import Task

Say = Callable[[str], None]
# Before what `check_run` found, in its log.
RESULT = "CHECKED "
BASES = "bases"
# Loggers whose files the table is made of.
READABLE = ("TensorBoardLogger", "CSVLogger", "CSVRun")


@dataclass(frozen=True)
class Checked:
    """What the configurations of a study say.

    Attributes:
        named: the model that the runs' configs name.
        recipe: the config that makes it when it is not there (``prepare``).
    """

    named: str | None = None
    recipe: str | None = None


def check_study(
    study: Study, launcher: Launcher, source: str, report: str, say: Say = print
) -> Checked:
    """Parse the settings of every arm at every point, and make what needs no weights.

    Args:
        study: the study.
        launcher: runs checks on this machine.
        source: the study's YAML, for the lines of its keys.
        report: the Markdown that will be written.
        say: prints a line about progress.

    Raises:
        UserError: naming all that ``fit`` would reject, and all that the report could not use.
    """
    lines = Lines(source)
    faults = [*unwritable("folder", study.folder), *unwritable("--report", report, file=True)]
    some = {(run.point, run.arm): run for run in all_runs(study, study.seeds[:1])}
    tuned = {} if study.tune is None else {study.tune.setting: study.tune.values[0]}
    commands = {
        # What the configs say of making their model is to be known too.
        place: [flag for flag in run_arguments(study, run, tuned) if flag != "--prepare=null"]
        for place, run in some.items()
    }
    if study.bases.config is not None:
        commands["", BASES] = base_arguments(study, study.bases.seeds[0])
    several_arms = "" if len(some) == 1 else "s"
    say(f"checks: the settings of {len(some)} arm{several_arms}, before anything is made")
    found = _parsed(launcher, commands, say)
    configs = {}
    for place, result in found.items():
        for fault in result.get("faults", []):
            faults.append(placed(study, lines, place, fault))
        if "config" in result and place != ("", BASES):
            configs[place] = result["config"]
    first = next(iter(configs.values()), None)
    checked = Checked()
    if first is not None and len(configs) == len(some):
        faults += [f"{source}: {fault}" for fault in disagreements(study, configs)]
        if study.bases.config is None and not study.bases.models:
            checked = Checked(first["model"]["init_args"]["name"], first.get("prepare"))
    faults += [
        f"{lines.where(BASES, 'models')}: bases.models: {fault}"
        for fault in _unknown_models(study.bases.models)
    ]
    if checked.named is not None and checked.recipe is not None and _is_missing(checked.named):
        command = prepare_arguments(study, checked.named, checked.recipe)
        (result,) = _parsed(launcher, {("", BASES): command}, say).values()
        faults += [f"prepare: {fault}" for fault in result.get("faults", [])]
    elif checked.named is not None:
        faults += _unknown_models([checked.named])
    if faults:
        raise UserError(several(list(dict.fromkeys(faults))))
    return checked


def _is_missing(name: str) -> bool:
    return not Path(name).expanduser().exists()


def _unknown_models(names: Sequence[str]) -> list[str]:
    """Why models that should exist cannot be opened."""
    found = []
    for name in names:
        try:
            identify(name)
        except UserError as error:
            found.append(str(error).removeprefix("model.name: "))
    return found


def _parsed(
    launcher: Launcher, commands: Mapping[tuple[str, str], list[str]], say: Say
) -> dict[tuple[str, str], dict[str, Any]]:
    """What ``check_run`` says of each command line: its configuration, or its faults."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = {
            place: Task("-".join(filter(None, place)), Path(folder) / str(number), arguments)
            for number, (place, arguments) in enumerate(commands.items())
        }
        progress = Progress(say, "checks", len(tasks), quiet=True)
        drain(launcher, list(tasks.values()), progress)
        return {place: _result(task) for place, task in tasks.items()}


def _result(task: Task) -> dict[str, Any]:
    text = task.log.read_text(errors="replace")
    for line in reversed(text.splitlines()):
        if line.startswith(RESULT):
            return json.loads(line.removeprefix(RESULT))
    raise RuntimeError(f"the check of {task.key} ended without a result:\n{text}")


def placed(study: Study, lines: Lines, place: tuple[str, str], fault: str) -> str:
    """A fault of a configuration, with the line of the study's YAML that is to blame, if it is."""
    point, arm = place
    setting = fault.split(":")[0].removeprefix("--").removeprefix("model.init_args.")
    groups: dict[tuple[str, ...], Mapping[str, Any]] = {
        ("arms", arm, "settings"): study.arms[arm].settings if arm in study.arms else {},
        ("points", point): study.points.get(point, {}),
        ("settings",): study.settings,
    }
    if place == ("", BASES):
        groups = {("bases", "settings"): study.bases.settings}
    for keys, settings in groups.items():
        for key in settings:
            if setting == key or setting.startswith(f"{key}."):
                where = lines.where(*keys, key)
                return f"{where}: {'.'.join(keys)}.{fault.removeprefix('--')}"
    if lines.path in fault or ".yaml:" in fault.split(" ")[0]:
        return fault
    name = "bases" if place == ("", BASES) else f"arm {'-'.join(filter(None, place))}"
    return f"{lines.path}: {name}: {fault}"


def disagreements(
    study: Study, configs: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[str]:
    """Reasons why the study could not report runs with these configurations.

    Args:
        study: the study.
        configs: by point and arm.
    """
    lacking: dict[str, list[str]] = {}
    for place, config in configs.items():
        for fault in judged_otherwise(study, config):
            lacking.setdefault(fault, []).append("-".join(filter(None, place)))
    for fault, names in lacking.items():
        who = "every arm" if len(names) == len(configs) else f"arm {', '.join(names)}"
        yield f"{who}: {fault}"
    settings = {place: config["model"]["init_args"] for place, config in configs.items()}
    rollouts = {each["evaluation"]["rollouts"] for each in settings.values()}
    if len(rollouts) > 1:
        yield f"arms differ in model.evaluation.rollouts ({sorted(rollouts)}), so their scores do"
    for point in dict.fromkeys(point for point, _ in configs):
        questions = {
            json.dumps((config["data"]["init_args"]["val"] or {}).get(study.benchmark))
            for (where, _), config in configs.items()
            if where == point
        }
        if len(questions) > 1:
            at = f" at point {point!r}" if point else ""
            yield f"arms differ in data.val.{study.benchmark}{at}; all must answer the same"
    names = {each["name"] for each in settings.values()}
    if len(names) > 1:
        yield f"arms start from different models ({', '.join(sorted(names))}); compare on one base"
    for name, arm in study.arms.items():
        source = arm.match_kl
        places = [place for place in configs if place[1] == source]
        if source and not all(configs[place].get("akl") for place in places):
            yield f"arms.{name}.match_kl: {source!r} has no KL controller (akl) to match"


def judged_otherwise(study: Study, config: Mapping[str, Any]) -> list[str]:
    """Reasons why the study could not report a run with this configuration."""
    names = set(config["data"]["init_args"]["val"] or {})
    found = [
        f"no evaluation set {name!r} in data.val, only {sorted(names)}"
        for name in (study.benchmark, *([study.tune.benchmark] if study.tune else []))
        if name not in names
    ]
    given = config["trainer"]["logger"]
    kinds = [_kind(each) for each in (given if isinstance(given, list) else [given])]
    if not set(kinds) & set(READABLE):
        found.append(
            f"trainer.logger is {' and '.join(kinds)}, and the report reads the files of "
            f"{' or '.join(READABLE)} only"
        )
    rollouts = config["model"]["init_args"]["evaluation"]["rollouts"]
    for key, ks in {"ks": study.ks, "tune.k": [study.tune.k] if study.tune else []}.items():
        if max(ks, default=0) > rollouts:
            found.append(f"{key} {ks} need more than model.evaluation.rollouts = {rollouts}")
    return found


def _kind(logger: Any) -> str:
    """The class of a configured logger; Lightning's default is TensorBoard's."""
    if isinstance(logger, Mapping):
        return str(logger["class_path"]).rpartition(".")[2]
    return {None: READABLE[0], True: READABLE[0], False: "off"}.get(logger, str(logger))


def unwritable(key: str, given: str, file: bool = False) -> Sequence[str]:
    """Why nothing can be written there; empty if it can."""
    path = Path(given).absolute()
    if file and path.is_dir():
        return [f"{key}: {given!r} is a folder; name a file, such as {given.rstrip('/')}/report.md"]
    if not file and path.exists() and not path.is_dir():
        return [f"{key}: {given!r} is a file; name a folder"]
    above = path if path.is_dir() else path.parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        return [f"{key}: {given!r} cannot be made, since {str(above)!r} is a file"]
    if not os.access(above, os.W_OK | os.X_OK):
        return [f"{key}: {given!r} cannot be written, since {str(above)!r} is read-only"]
    return []
