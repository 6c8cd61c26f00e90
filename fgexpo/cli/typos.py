"""Mistakes in settings, found before anything heavy is imported.

Flags and configurations are compared with the classes' own settings, as the source has them. Only
what is certainly wrong is refused here; all else is left to the parser.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import shorten

import yaml

from ..catalogue import plain, read_catalogue
from ..catalogue.annotations import takes, wanted
from ..catalogue.nodes import items, nest, read_nodes, written
from ..catalogue.shipped import find_configs, shipped_configs
from ..errors import UserError, several
from .hints import nearest
from .keys import ROOTS, Keys
from .plugins import plugins

__all__ = ["ROOTS", "check_keys", "tell"]

# What only a study has.
OF_A_STUDY = {"arms", "rollouts"}
HELP = ("help", "h", "print_config")


def check_keys(
    arguments: Sequence[str], own: Mapping[str, str] | None = None, command: str | None = None
) -> None:
    """Check every flag, and every key of every configuration that the flags name.

    Args:
        arguments: without the command.
        own: flags of the command's own, with their types.
        command: whose needs are checked too; None for settings alone.

    Raises:
        UserError: with a line for each mistake: where it is, the setting, what there is instead.
    """
    tell(find_faults(arguments, own, command))


def find_faults(
    arguments: Sequence[str], own: Mapping[str, str] | None = None, command: str | None = None
) -> list[str]:
    """What :func:`check_keys` refuses, a sentence for each mistake."""
    own = own or {}
    keys = Keys(read_catalogue(tuple(plugins())), own)
    arguments = find_configs(arguments)
    complete = True  # whether all that is given is known here
    files = 0
    for option, value in flag_pairs(arguments, HELP):
        name = option.lstrip("-")
        if not option.startswith("-"):
            keys.faults.append(_no_flag(option))
            continue
        if not option.startswith("--") and len(name) > 1:
            keys.faults.append(f"{option}: a flag has two dashes, as in --{name}")
        elif name.split(".")[0] in HELP or name.endswith(".help"):
            complete = False
        elif name in ("config", "c"):
            files += 1
            if value is None:
                keys.faults.append("--config: a value is missing: a file, or a name such as tiny")
            else:
                complete &= read_file(keys, value, option)
        elif name in own:
            keys.faults += wrong_value(option, own[name], value)
        else:
            head, *rest = name.rstrip("+").split(".")
            keys.root(option, head, nest(written(value), rest))
    if complete and command is not None and not keys.faults:
        _need(keys, files, command)
    return keys.faults


def tell(faults: Sequence[str]) -> None:
    """Refuse, if there is a fault.

    Raises:
        UserError: with a line for each of the first faults.
    """
    if faults:
        raise UserError(several(list(dict.fromkeys(faults))))


def read_file(keys: Keys, path: str, option: str = "--config") -> bool:
    """A configuration; one that cannot be read is left to the parser.

    Returns:
        Whether it was read.
    """
    if set(path) & set("{}:\n") and not Path(path).exists():  # settings instead of a file
        return False
    if not Path(path).exists():
        near = nearest(path.removesuffix(".yaml"), shipped_configs())
        meant = f"; did you mean {near}?" if near and near != path else ""
        keys.faults.append(
            f"{option}: {path!r} is neither a file, seen from {Path.cwd()}, nor the name of a "
            f"configuration that comes with fgexpo{meant}"
        )
        return False
    if not Path(path).is_file():  # a pipe can be read only once
        return False
    node = read_nodes(path)
    found = items(node)
    if {key for key, _, _ in found} >= OF_A_STUDY:
        keys.faults.append(f"{option}: {path!r} is a study; run it by `fgexpo study {path}`")
        return False
    for key, line, value in found:
        keys.root(f"{path}:{line}", key, value, path)
    return isinstance(node, yaml.MappingNode)  # what else it is, the parser says


def wrong_value(option: str, kind: str, value: str | None) -> list[str]:
    """What is wrong with the value of a flag of a command's own: a sentence, or none."""
    node = written(value)
    if node is None:
        return [f"{option}: a value is missing, as in {option}=VALUE"]
    if not takes(kind, node, strict=False):
        return [f"{option}: expected {wanted(kind)}, got {value!r}"]
    return []


def _need(keys: Keys, files: int, command: str) -> None:
    lacking = [
        f"{key} is missing: {setting.owner.rpartition('.')[2]} needs it"
        + (
            f" ({shorten(plain(setting.help), 80, placeholder='...').rstrip('.')})"
            if setting.help
            else ""
        )
        for key, setting in keys.missing()
    ]
    if lacking and not files:
        example = "eval/tiny" if command == "test" else "tiny"
        named = " and ".join(key for key, _ in keys.missing())
        lacking = [
            f"{command} needs a configuration, as in `fgexpo {command} --config {example}`; "
            f"without one, {named} must be given"
        ]
    keys.faults += lacking


def flag_pairs(arguments: Sequence[str], bare: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Flags and their values, ``--a=b`` and ``--a b`` alike; and what is neither, by itself.

    Args:
        arguments: without the command.
        bare: flags that take no value.
    """
    taken = False
    for text, after in pairwise([*arguments, "--"]):
        if taken:
            taken = False
        elif text.startswith("-") and not _is_number(text):
            option, equals, value = text.partition("=")
            taken = not equals and not after.startswith("--") and option.lstrip("-") not in bare
            yield option, value if equals else after if taken else None
        else:
            yield text, None


def _no_flag(text: str) -> str:
    near = nearest(text.removesuffix(".yaml"), shipped_configs(), 0.8)
    file = text if Path(text).is_file() else near
    hint = f"did you mean --config {file}?" if file else "settings are given as --key=value"
    return f"{text!r} is not a flag; {hint}"


def _is_number(text: str) -> bool:
    return text[1:2].isdigit() or text[1:2] == "."
