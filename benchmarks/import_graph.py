"""The project's import graph, read from its source without importing it."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
# From the ground up: a wing may import those on its own floor's line and on the floors below.
FLOORS = (
    ("errors", "groups", "heartbeat", "questions", "running_sum", "seeding"),
    (
        "catalogue",
        "files",
        "isolated",
        "kl",
        "metrics",
        "outside",
        "schedules",
        "templates",
        "types",
    ),
    ("advantages", "allocation", "curriculum", "gym", "losses"),
    ("model",),
    ("parallel",),
    ("robustness", "rewards"),
    ("rollout", "tasks"),
    ("evaluation", "update"),
    ("checks",),
    ("policy",),
    ("module", "supervised"),
    ("figures", "hub", "loggers"),
    ("callbacks", "datamodules"),
    ("plan", "study"),
    ("cli",),
    ("__main__",),
)
FLOOR = {wing: number for number, wings in enumerate(FLOORS) for wing in wings}


def name_of(path: Path) -> str:
    """The dotted name of a source file, given relative to the root."""
    parts = list(path.with_suffix("").parts)
    if parts[0] != "fgexpo":
        parts.insert(0, "fgexpo")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def wing_of(name: str) -> str:
    """The folder or file at the top of the package that a module belongs to."""
    return name.split(".")[1]


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the package and its file."""
    patterns = ("fgexpo/**/*.py", "callbacks/*.py", "datamodules/*.py")
    paths = [path for pattern in patterns for path in root.glob(pattern)]
    return {name_of(path.relative_to(root)): path for path in paths}


def import_graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """For each module the others that it imports, also inside functions and for types alone."""
    return {name: set(_imports(name, path, files)) - {name} for name, path in files.items()}


def _imports(name: str, path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            for alias in node.names:
                for found in (f"{start}.{alias.name}", start):
                    if found in files:
                        yield found
                        break


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle of imports, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def wings(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same graph between wings; the package's own ``__init__`` belongs to none."""
    found: dict[str, set[str]] = {}
    for name, imported in graph.items():
        if "." in name:
            others = {wing_of(other) for other in imported if "." in other} - {wing_of(name)}
            found.setdefault(wing_of(name), set()).update(others)
    return found


def upward(graph: Mapping[str, set[str]]) -> list[str]:
    """Imports of a wing on a higher floor."""
    return sorted(
        f"{name} -> {other}"
        for name, imported in graph.items()
        for other in imported
        if "." in name and "." in other and FLOOR[wing_of(other)] > FLOOR[wing_of(name)]
    )
