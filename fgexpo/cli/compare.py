"""``python -m fgexpo compare A.json B.json``: is B better than A on the same questions?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from ..errors import UserError
from ..evaluation.bootstrap import mean_with_interval
from ..evaluation.printed import print_table
from ..evaluation.read_results import read_results
from ..evaluation.results import MEAN, label
from ..outside.parser import Parser
from ..seeding import hash_seed

# By benchmark and score: difference, lower and upper end, and how many questions.
PairedDifferences = dict[str, dict[str, tuple[float, float, float, int]]]


def main(arguments: list[str]) -> None:
    """Parse two results files; print and draw the paired differences."""
    parser = Parser(
        prog="fgexpo compare", description="Paired differences, B minus A, question by question."
    )
    parser.add_argument("a", type=str, help="results.json, or its folder: the baseline")
    parser.add_argument("b", type=str, help="results.json, or its folder: compared with A")
    parser.add_argument(
        "--out", type=str, default="compare.png", help="figure to draw: .png, .pdf or .svg"
    )
    config = parser.parse_args(arguments)
    if Path(config.out).suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--out: expected a .png, .pdf or .svg file, got {config.out!r}")
    a, b = read_results(config.a), read_results(config.b)
    for line in warnings(a, b):
        print(line)
    found = differences(a, b)
    names = [label(a), label(b)]
    if names[0] == names[1]:
        names = [Path(path).name if Path(path).is_dir() else path for path in (config.a, config.b)]
    title = f"{names[1]} minus {names[0]}"
    print_table(table(found, title))
    draw(found, config.out, title)
    print(f"figure: {config.out}")


def warnings(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The differences between the two evaluations besides the weights."""
    one, two = a["identity"], b["identity"]
    return [
        f"note: {name} differs: {one.get(name)} against {two.get(name)}"
        for name in {**one, **two}
        if name not in ("weights", "questions") and one.get(name) != two.get(name)
    ]


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> PairedDifferences:
    """Mean difference of every shared score, over the questions that both asked.

    Intervals come from a paired bootstrap: each question drawn brings both its scores.

    Raises:
        UserError: when the two share no benchmark, question or score, or their questions differ.
    """
    shared = [name for name in a["benchmarks"] if name in b["benchmarks"]]
    if not shared:
        raise UserError(
            f"compare: no benchmark is in both {list(a['benchmarks'])} and {list(b['benchmarks'])}"
        )
    pairs = {name: _pairs(a, b, name) for name in shared}
    every = [scores for found in pairs.values() for pair in found for scores in pair]
    tags = [tag for tag in every[0] if all(tag in scores for scores in every)]
    if not tags:
        raise UserError(f"compare: the two evaluations share no score of {', '.join(shared)}")
    paired = {
        name: np.array([[two[tag] - one[tag] for tag in tags] for one, two in found])
        for name, found in pairs.items()
    }
    found = {name: _summary([values], name, tags) for name, values in paired.items()}
    if len(paired) > 1:
        found[MEAN] = _summary(list(paired.values()), MEAN, tags)
    return found


def _pairs(
    a: Mapping[str, Any], b: Mapping[str, Any], name: str
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """The scores in A and in B of every question of the benchmark that both asked."""
    one, two = (side["benchmarks"][name]["per_question"] for side in (a, b))
    prints = [side["identity"].get("questions", {}).get(name) for side in (a, b)]
    if prints[0] != prints[1]:
        raise UserError(
            f"compare: the questions of {name} are not the same in both; "
            "evaluate both models on the same files"
        )
    both = [question for question in one if question in two]
    if not both:
        raise UserError(f"compare: the two evaluations share no question of {name}")
    return [(one[question], two[question]) for question in both]


def table(found: PairedDifferences, title: str) -> Table:
    """One row per benchmark and score."""
    made = Table(title=escape(title))
    made.add_column("benchmark")
    made.add_column("score")
    for column in ("questions", "difference", "95 % interval"):
        made.add_column(column, justify="right")
    for name, scores in found.items():
        for tag, (mean, low, high, count) in scores.items():
            digits = 1 if tag == "mean_length" else 3
            ends = f"[{low:+.{digits}f}, {high:+.{digits}f}]"
            made.add_row(escape(name), escape(tag), str(count), f"{mean:+.{digits}f}", ends)
        made.add_section()
    return made


def draw(found: PairedDifferences, path: str, title: str) -> None:
    """Draw pass@k and maj@k: a point and an interval for each benchmark."""
    from matplotlib.figure import Figure

    tags = [tag for tag in next(iter(found.values())) if "@" in tag]
    width, height = 2 + 2.4 * len(tags), 1.2 + 0.4 * len(found)
    # A picture of more than 2**16 pixels a side is refused.
    figure = Figure(figsize=(min(width, 400), min(height, 400)), layout="constrained")
    places = range(len(found))
    for column, tag in enumerate(tags):
        axes = figure.add_subplot(1, len(tags), column + 1)
        rows = [found[name][tag] for name in found]
        means = [row[0] for row in rows]
        ends = [[row[0] - row[1] for row in rows], [row[2] - row[0] for row in rows]]
        axes.errorbar(means, places, xerr=ends, fmt="o", capsize=3, color="tab:blue")
        axes.axvline(0, color="grey", linewidth=1)
        axes.set_title(tag, parse_math=False)
        labels = list(found) if column == 0 else [""] * len(found)
        axes.set_yticks(places, labels, parse_math=False)
        axes.invert_yaxis()
    caption = f"{title}, 95 % intervals over questions"
    figure.suptitle(caption, fontsize="medium", parse_math=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _summary(
    groups: list[np.ndarray], name: str, tags: list[str]
) -> dict[str, tuple[float, float, float, int]]:
    mean, low, high = mean_with_interval(groups, hash_seed("bootstrap", name))
    count = sum(len(group) for group in groups)
    return {
        tag: (float(mean[i]), float(low[i]), float(high[i]), count) for i, tag in enumerate(tags)
    }
