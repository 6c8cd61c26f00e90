"""Classes of other packages that a configuration can name, from their source; nothing is imported.

Optimizers are PyTorch's; callbacks and loggers, Lightning's and the project's own.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .source import Catalogue, Setting

# What stands in an annotation, and the package whose classes can stand there.
PACKAGES = {
    "OptimizerCallable": "torch.optim",
    "Callback": "lightning.pytorch.callbacks",
    "Logger": "lightning.pytorch.loggers",
}
TRAINER = "lightning.pytorch.trainer.trainer"
# What an optimizer gets from the module.
_GIVEN = ("params",)


@cache
def foreign_kinds(base: str) -> dict[str, str]:
    """The dotted path of each class by its name; nothing for a base that is not foreign."""
    package = PACKAGES.get(base)
    file = None if package is None else _file(package)
    if file is None:
        return {}
    return {
        name: f"{module}.{name}"
        for module, name in _imported(file)
        if name[0].isupper() and name not in ("Optimizer", *PACKAGES)
    }


@cache
def foreign_settings(path: str) -> list[Setting] | None:
    """The settings of such a class; None if its source does not tell all of them."""
    module = path.rpartition(".")[0]
    file = _file(module)
    if file is None:
        return None
    catalogue = Catalogue({module: file})
    found = catalogue.classes.get(path)
    if found is None or found.passes_on or not found.has_init:
        return None
    return [each for each in catalogue.settings(path) if each.name not in _GIVEN]


def trainer_settings() -> list[Setting]:
    """The flags of Lightning's trainer; nothing if its source is not where it was."""
    return foreign_settings(f"{TRAINER}.Trainer") or []


def _file(module: str) -> Path | None:
    """A module's file; only the top package is looked for, as others would be imported."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in (Path(folder, *rest, "__init__.py"), Path(folder, *rest).with_suffix(".py")):
            if path.exists():
                return path
    return None


def _imported(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
