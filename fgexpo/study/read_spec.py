"""Reads a study's YAML, and finds what in it contradicts itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from ..catalogue.shipped import find_config
from ..errors import UserError, several
from ..outside import reading
from ..outside.names import wrong_name
from ..outside.parser import told
from .dotted import dotted
from .lines import Lines
from .overruled import overruled
from .spec import SEEDS, Arm, Study

EVALUATION_KS = "model.evaluation.ks"
_DEFAULT_KS = [1, 8, 32]


def read_study(path: str) -> Study:
    """Read and check a study.

    Raises:
        UserError: naming the file, the line, the key and what was expected; of several mistakes,
            each.
    """
    if not Path(path).is_file():
        raise UserError(f"study: file {path!r} does not exist")
    lines = Lines(path)
    if faults := lines.faults():
        raise UserError(several(faults))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Study, None)
    with reading(path, "the YAML of a study", "study"):
        try:
            study = Study(**vars(parser.instantiate_classes(parser.parse_path(path))))
        except ArgumentError as error:
            raise UserError(f"{path}: {told(str(error))}") from error
    found = empty_keys(study)
    if not found:
        _fill_in(study, lines)
        found = problems(study)
    if found:
        raise UserError(several([_with_line(lines, each) for each in found]))
    return study


def _fill_in(study: Study, lines: Lines) -> None:
    """Give each key that was left out its value; names of configs become their files."""
    study.configs = [find_config(config) for config in study.configs]
    if study.bases.config is not None:
        study.bases.config = find_config(study.bases.config)
    stem = Path(lines.path).stem
    if not study.title:
        study.title = stem
    if ("folder",) not in lines.at and not study.folder:
        study.folder = f"studies/{stem}"
    if ("ks",) not in lines.at and not study.ks:
        study.ks = evaluation_ks(study)


def evaluation_ks(study: Study) -> list[int]:
    """The values of k of the runs' own evaluation, as settings and configs have them.

    The last to set them wins, as on the command line.
    """
    given = dict(dotted(study.settings))
    if EVALUATION_KS in given:
        return given[EVALUATION_KS]
    for path in reversed(study.configs):
        if not Path(path).is_file():
            continue
        with reading(path, "the YAML of a configuration", "configs"):
            value: Any = yaml.safe_load(Path(path).read_text())
        given = dict(dotted(value)) if isinstance(value, dict) else {}
        if given.get(EVALUATION_KS) is not None:
            return given[EVALUATION_KS]
    return list(_DEFAULT_KS)


def empty_keys(part: Any, name: str = "") -> list[str]:
    """Keys that are null and may not be."""
    found = []
    for each in fields(part):
        value, key = getattr(part, each.name), f"{name}{each.name}"
        inside = (
            {key: value, **{f"{key}.{k}": v for k, v in value.items()}}
            if isinstance(value, dict) and each.name != "settings"
            else {key: value}
        )
        for where, thing in inside.items():
            if is_dataclass(thing):
                found += empty_keys(thing, f"{where}.")
        if value is None and "None" not in str(each.type):
            found.append(f"{key} must not be null")
    return found


def problems(study: Study) -> list[str]:
    """Find values that are out of range or contradict each other; each begins with its key."""
    return [
        *_numbers(study),
        *_names(study),
        *_bases(study),
        *_arms(study),
        *_tuning(study),
        *slurm_problems(study),
        *overruled(study),
    ]


def _numbers(study: Study) -> Iterator[str]:
    if study.rollouts < 1:
        yield f"rollouts must be at least 1, got {study.rollouts}"
    if study.target is not None and not 0 < study.target <= 1:
        yield f"target must be a pass@1 above 0, at most 1, got {study.target}"
    yield from _seeds("seeds", study.seeds)
    wrong = not isinstance(study.ks, list) or any(type(k) is not int or k < 1 for k in study.ks)
    if wrong or (study.tune and study.tune.k < 1):
        yield f"ks and tune.k must be at least 1, got {study.ks}"
    given = dict(dotted(study.settings)).get(EVALUATION_KS, study.ks)
    if given != study.ks:
        yield (
            f"ks is {study.ks}, but settings.{EVALUATION_KS} is {given}; leave out ks to report "
            "what the evaluation computes"
        )


def _seeds(key: str, seeds: Sequence[int]) -> Iterator[str]:
    allowed = all(0 <= seed < SEEDS for seed in seeds)
    if not seeds or len(set(seeds)) != len(seeds) or not allowed:
        yield (f"{key} must be different numbers from 0 to {SEEDS - 1}, at least one, got {seeds}")


def _names(study: Study) -> Iterator[str]:
    named: Mapping[str, Any] = {"arms": study.arms, "points": study.points}
    for key, names in named.items():
        yield from (f"{key}: {wrong}" for wrong in map(wrong_name, names) if wrong)
    if not study.folder or not study.folder.isprintable():
        yield f"folder must be the name of a folder, got {study.folder!r}"
    for key in ("configs", "arms", "ks"):
        if not getattr(study, key):
            yield f"{key} must not be empty"
    recipe = [] if study.bases.config is None else [study.bases.config]
    for key, paths in {"configs": study.configs, "bases.config": recipe}.items():
        for path in paths:
            if not Path(path).is_file():
                yield f"{key}: config {path!r} does not exist"


def _bases(study: Study) -> Iterator[str]:
    bases = study.bases
    if bases.config is None:
        for key in ("seeds", "settings"):
            if getattr(bases, key):
                yield f"bases.{key} is for bases that bases.config makes, and there is none"
        if len(set(bases.models)) != len(bases.models):
            yield f"bases.models names a model twice: {bases.models}"
        return
    yield from _seeds("bases.seeds", bases.seeds)
    if bases.models:
        yield "bases has both config, which makes models, and models, which exist; leave out one"


def _arms(study: Study) -> Iterator[str]:
    for name, arm in study.arms.items():
        for other in (*arm.against, *([arm.match_kl] if arm.match_kl else [])):
            if other not in study.arms or other == name:
                yield f"arms.{name} names {other!r}, which is not another arm"
        if len(set(arm.against)) != len(arm.against):
            yield f"arms.{name}.against names an arm twice: {arm.against}"
        if arm.match_kl and study.arms.get(arm.match_kl, Arm()).match_kl:
            yield f"arms.{name}.match_kl: {arm.match_kl!r} is itself matched"


def _tuning(study: Study) -> Iterator[str]:
    if study.tune is None:
        return
    yield from _seeds("tune.seeds", study.tune.seeds)
    if set(study.tune.seeds) & set(study.seeds):
        yield f"tune.seeds {study.tune.seeds} must not be seeds of the study"
    if study.tune.benchmark == study.benchmark:
        yield f"tune.benchmark must not be the reported one, {study.benchmark!r}"
    if not study.tune.values:
        yield "tune.values must not be empty"


def slurm_problems(study: Study) -> Iterator[str]:
    """What no cluster could give."""
    slurm = study.slurm
    least = {"minutes": 5, "gpus": 0, "cpus": 1, "at_once": 1}
    for key, low in least.items():
        value = getattr(slurm, key)
        if value is not None and value < low:
            yield f"slurm.{key} must be at least {low}, got {value}"


def _with_line(lines: Lines, problem: str) -> str:
    """A problem after the file and line of the key that it begins with."""
    keys: tuple[str, ...] = ()
    for key in sorted(lines.at, key=len):
        dotted = ".".join(key)
        if problem.startswith(dotted) and not problem[len(dotted) : len(dotted) + 1].isalnum():
            keys = key
    return f"{lines.where(*keys)}: {problem}"
