"""The picture of the wings and what they import: ``python benchmarks/house.py OUT.png``.

A wing stands above everything that it imports. An arrow that others imply is left out: where A
imports B and B imports C, none is drawn from A to C.
"""

import ast
import re
import sys
import textwrap
from collections.abc import Mapping
from graphlib import TopologicalSorter

from import_graph import ROOT, import_graph, sources, wings
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

HOOKS = "module.py policy.py"
HOOK_FILES = {"module", "policy", "supervised", "checks"}
PURE = "pure files"
# Folders of the same floors, which are drawn with them.
PURE_FOLDERS = {"catalogue", "files", "kl", "loggers", "outside", "schedules", "templates"}
# In the order of a step; their boxes are numbered.
STEP = ["tasks", "curriculum", "rollout", "rewards", "advantages", "model", "losses", "update"]
# Middle of each box, chosen so that few arrows cross.
COLUMNS = {
    "tasks": 2.65,
    "curriculum": 3.0,
    "rollout": 6.9,
    "rewards": 2.65,
    "advantages": 8.6,
    "allocation": 4.8,
    "model": 6.9,
    "losses": 10.3,
    "update": 9.4,
    "gym": 0.9,
    "isolated": 0.9,
    "parallel": 7.1,
    "robustness": 5.1,
    "evaluation": 7.0,
    "figures": 0.5,
    "hub": 8.6,
    "study": 0.5,
    "callbacks": 2.3,
    "datamodules": 3.95,
    HOOKS: 2.2,
    "plan": 6.0,
    "cli": 3.95,
}
WIDTH, HEIGHT = 1.56, 0.5


def box_of(wing: str) -> str:
    """The box in which a wing is drawn."""
    if wing == "__main__":
        return "cli"
    if wing in HOOK_FILES:
        return HOOKS
    if wing in PURE_FOLDERS:
        return PURE
    home = ROOT if wing in ("callbacks", "datamodules") else ROOT / "fgexpo"
    return wing if (home / wing).is_dir() else PURE


def boxes(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Which other boxes each box imports."""
    found: dict[str, set[str]] = {}
    for wing, others in wings(graph).items():
        found.setdefault(box_of(wing), set()).update(map(box_of, others))
    return {box: others - {box} for box, others in found.items()}


def below(graph: dict[str, set[str]], wing: str) -> set[str]:
    """All that a wing imports, by way of others too."""
    return graph[wing].union(*(below(graph, other) for other in graph[wing]))


def drawn(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows that no others imply; every wing may import the pure files."""
    return [
        (wing, other)
        for wing, others in graph.items()
        for other in sorted(others - {PURE})
        if not any(other in below(graph, between) for between in others - {other})
    ]


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """The height of each wing: one above the highest that it imports.

    Raises:
        CycleError: when wings import each other in a circle.
    """
    height: dict[str, int] = {}
    for wing in TopologicalSorter(graph).static_order():
        height[wing] = 1 + max((height[other] for other in graph[wing]), default=-1)
    return height


def intent(wing: str) -> str:
    """The first sentence of a wing's docstring."""
    if wing == HOOKS:
        return "Lightning's hooks"
    if wing in PURE_FOLDERS:
        return PURE
    home = ROOT if wing in ("callbacks", "datamodules") else ROOT / "fgexpo"
    text = ast.get_docstring(ast.parse((home / wing / "__init__.py").read_text())) or ""
    sentence = re.split(r"[.:] |\n\n", text)[0]
    return textwrap.fill(sentence.rstrip("."), 30)


def draw(graph: dict[str, set[str]], axes: Axes) -> None:
    """Boxes at their heights, and arrows from each wing down to what it imports."""
    height = levels(graph)
    middle = {wing: (COLUMNS.get(wing, 9.4), height[wing]) for wing in graph}
    for wing, other in drawn(graph):
        (x, y), (to_x, to_y) = middle[wing], middle[other]
        lean = 0.3 * WIDTH * max(-1.0, min(1.0, to_x - x))
        axes.annotate(
            "",
            (to_x - lean, to_y + HEIGHT / 2),
            (x + lean, y - HEIGHT / 2),
            arrowprops={"arrowstyle": "-|>", "color": "0.45", "linewidth": 1, "shrinkA": 0},
            zorder=1,
        )
    for wing, (x, y) in middle.items():
        number = f"{STEP.index(wing) + 1}  " if wing in STEP else ""
        name = wing if wing == HOOKS else f"{wing}/"
        colour = "#cfe3f7" if wing in STEP else "#eeeeee"
        if wing == PURE:
            files = sorted(f.name for f in (ROOT / "fgexpo").glob("*.py"))
            kept = [f for f in files if not f.startswith("__") and f[:-3] not in HOOK_FILES]
            kept += [f"{folder}/" for folder in sorted(PURE_FOLDERS)]
            box(axes, 5.4, y, 11.36, colour, "pure files, which all may import", "  ".join(kept))
        else:
            box(axes, x, y, WIDTH, colour, number + name, intent(wing))


def box(axes: Axes, x: float, y: float, width: float, colour: str, title: str, remark: str) -> None:
    """A box around its middle, with a name and what it is for."""
    corner = (x - width / 2, y - HEIGHT / 2)
    axes.add_patch(Rectangle(corner, width, HEIGHT, facecolor=colour, edgecolor="0.3", zorder=2))
    axes.text(x, y + 0.14, title, ha="center", va="center", weight="bold", size=9, zorder=3)
    axes.text(x, y - 0.08, remark, ha="center", va="center", size=7, zorder=3)


def main() -> None:
    """Draw the tree as it stands."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    axes = figure.subplots()
    graph = boxes(import_graph(sources()))
    draw(graph, axes)
    axes.set(xlim=(-0.35, 11.15), ylim=(-0.4, max(levels(graph).values()) + 0.4))
    axes.axis("off")
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
