"""Mistakes in a study's YAML, found before anything heavy is imported."""

from pathlib import Path

import yaml

from ..catalogue import Setting, plain, read_catalogue
from ..catalogue.nodes import items, nest, read_nodes, text_of
from ..catalogue.shipped import find_config
from ..study.lines import Lines
from .keys import Keys
from .plugins import plugins
from .typos import read_file, tell

STUDY = "fgexpo.study.spec.Study"
# What only a configuration of a run has.
OF_A_RUN = {"model", "trainer", "data"}


def check_study(path: str) -> None:
    """Check a study's keys and their types, and the settings of each of its arms and points.

    A file that cannot be read is left to the command.

    Raises:
        UserError: with a line for each mistake: file and line, key, what there is instead.
    """
    node = read_nodes(path)
    found = items(node)
    if node is None or not found:
        return
    if OF_A_RUN & {key for key, _, _ in found}:
        tell([f"study: {path!r} is a configuration of a run; use `fgexpo fit --config {path}`"])
    keys = Keys(read_catalogue(tuple(plugins())))
    parts = {name: value for name, _, value in found}
    whole = Setting("study", "Study", None, "", STUDY)
    keys.value(path, path, "study", whole, node)
    faults = Lines(path).twice_there()
    faults += [each.replace(": study.", ": ", 1) for each in keys.faults]
    lacking = [] if faults else [each for each in keys.missing() if each[0].startswith("study.")]
    faults += [
        f"{path}: {key.removeprefix('study.')} is missing: {_needs(setting)}"
        for key, setting in lacking
    ]
    listed = parts.get("configs")
    several = listed.value if isinstance(listed, yaml.SequenceNode) else []
    configs = [text_of(each) for each in several]
    of_all = [("settings", parts.get("settings"))]
    bases = {name: value for name, _, value in items(parts.get("bases"))}
    base = _after([text_of(bases["config"])] if "config" in bases else [])
    faults += _settings(path, base, [("bases.settings", bases.get("settings"))])
    run = _after(configs)
    for name, _, arm in items(parts.get("arms")) or [("", None, None)]:
        own = {key: value for key, _, value in items(arm)}.get("settings")
        for point, _, regime in items(parts.get("points")) or [("", None, None)]:
            layers = [*of_all, (f"points.{point}", regime), (f"arms.{name}.settings", own)]
            faults += _settings(path, run, layers)
    tell(faults)


def _needs(setting: Setting) -> str:
    return (
        f"a study needs it ({plain(setting.help).rstrip('.')})"
        if setting.help
        else "a study needs it"
    )


def _after(configs: list[str]) -> Keys:
    """What applies after these configurations, whose own mistakes their runs tell."""
    keys = Keys(read_catalogue(tuple(plugins())))
    for config in map(find_config, configs):
        if Path(config).is_file():
            read_file(keys, config)
    keys.faults.clear()
    return keys


def _settings(path: str, before: Keys, layers: list[tuple[str, yaml.Node | None]]) -> list[str]:
    """What is wrong with dotted settings that apply in this order."""
    keys = before.copy()
    for key, node in layers:
        for name, line, value in items(node):
            head, *rest = name.split(".")
            keys.root(f"{path}:{line}: {key}", head, nest(value, rest))
    return keys.faults
