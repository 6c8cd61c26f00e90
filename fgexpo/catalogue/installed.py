"""The catalogue of what is installed here: the project's own modules, and those of plug-ins."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .source import Catalogue

PACKAGES = ("fgexpo", "fgexpo.callbacks", "fgexpo.datamodules")


@cache
def read_catalogue(plugins: tuple[str, ...] = ()) -> Catalogue:
    """The catalogue of this installation.

    Args:
        plugins: modules of others that are read too, where they are found.
    """
    files: dict[str, Path] = {}
    for name in plugins:
        spec = None if "." in name else find_spec(name)  # a parent package would be imported
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            files[name] = Path(spec.origin)
    if plugins:
        return Catalogue(files, read_catalogue())
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None and spec.submodule_search_locations is not None
        for folder in map(Path, spec.submodule_search_locations):
            for path in sorted(folder.rglob("*.py")):
                parts = path.relative_to(folder).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                files.setdefault(".".join((package, *parts)), path)
    with _without_collecting():
        return Catalogue(files)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Half of the time to read many files: all their nodes live until the end anyway."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
