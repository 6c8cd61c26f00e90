"""The configurations that come with the package, found by name from any folder."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

PACKAGE, FOLDER, SUFFIX = "fgexpo.configs", "configs", ".yaml"
OPTIONS = ("--config", "-c", "--prepare")


def shipped_configs() -> dict[str, Path]:
    """Every configuration by its name, such as ``tiny`` or ``recipes/dapo``."""
    spec = find_spec(PACKAGE)
    found: dict[str, Path] = {}
    for folder in () if spec is None else spec.submodule_search_locations or ():
        for path in sorted(Path(folder).rglob(f"*{SUFFIX}")):
            found[path.relative_to(folder).with_suffix("").as_posix()] = path
    return found


def find_config(given: str) -> str:
    """The file that a configuration's name stands for.

    A path that exists means itself. Else ``tiny``, ``tiny.yaml`` and ``configs/tiny.yaml`` mean the
    one that comes with the package; what is no such name comes back as it is.
    """
    if Path(given).exists():
        return given
    name = given.removeprefix(f"{FOLDER}/").removesuffix(SUFFIX)
    return str(shipped_configs().get(name, given))


def find_configs(arguments: Sequence[str]) -> list[str]:
    """A command line in which every ``--config`` is a file, where there is one of that name."""
    return list(_found(arguments))


def _found(arguments: Sequence[str]) -> Iterator[str]:
    before = ""
    for text in arguments:
        option, equals, value = text.partition("=")
        if before in OPTIONS:
            yield find_config(text)
        elif equals and option in OPTIONS:
            yield f"{option}={find_config(value)}"
        else:
            yield text
        before = text
