"""Draw a run's scores and training curves: ``python benchmarks/draw_run.py RUN OUT.png``.

RUN is a run's folder, such as ``runs/smollm2/version_0``. The upper left panel has pass@1 of each
value of the tags in ``model.evaluation.break_down_by``, the upper right one pass@k over all.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from fgexpo.figures.events import read_run
from fgexpo.figures.ranges import widen_y

TRAINED = {
    "share of groups without a signal": ["frac_reward_zero_std"],
    "KL and entropy (nats)": ["kl", "entropy"],
}


def main() -> None:
    """Read, draw and write."""
    folder, out = sys.argv[1:]
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for scalar in read_run(folder).scalars:
        steps, values = curves.setdefault(scalar.tag, ([], []))
        steps.append(scalar.step)
        values.append(scalar.value)
    scores = sorted(tag for tag in curves if tag.startswith("val/") and "@" in tag)
    figure, panels = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    by_tag = [tag for tag in scores if tag.count("/") == 3 and tag.endswith("@1")]
    overall = [tag for tag in scores if tag.count("/") == 2]
    _draw(panels[0, 0], "pass@1 on held-out questions", by_tag, curves)
    _draw(panels[0, 1], "pass@k on held-out questions, all tasks", overall, curves)
    for axes, (title, tags) in zip(panels[1], TRAINED.items(), strict=True):
        _draw(axes, title, [tag for tag in tags if tag in curves], curves)
    for axes in panels.flat:
        axes.set_xlabel("rollout step")
    figure.savefig(Path(out), dpi=110)
    print(out)


def _draw(
    axes: Axes, title: str, tags: list[str], curves: dict[str, tuple[list[int], list[float]]]
) -> None:
    shares = True
    for tag in tags:
        steps, values = curves[tag]
        name = tag.split("/", 2)[-1] if tag.startswith("val/") else tag
        axes.plot(steps, values, marker="o" if len(steps) < 20 else "", label=name)
        shares = shares and max(values) <= 1
    axes.set_title(title)
    axes.legend(fontsize="small")
    if tags:
        widen_y(axes, is_share=shares)


if __name__ == "__main__":
    main()
