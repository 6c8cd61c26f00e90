"""TensorBoard's Custom Scalars tab: related curves in grouped charts."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .tensorboard import WrittenOnce

# By category and title: the kind of chart, and its tags.
Layout = dict[str, dict[str, list[Any]]]


class ScalarLayout(WrittenOnce):
    """Groups what is logged into charts, as :func:`scalar_layout` says."""

    def write(self, writer: Any, trainer: Any, pl_module: Any) -> None:
        """Write the layout."""
        benchmarks = getattr(trainer.datamodule, "val", {})
        writer.add_custom_scalars(scalar_layout(benchmarks, pl_module.evaluation.ks))


def scalar_layout(benchmarks: Iterable[str], ks: Sequence[int]) -> Layout:
    """The charts of a run with these benchmarks, each evaluated by pass@k for these k."""
    scores = {name: lines(*[f"val/{name}/pass@{k}" for k in ks]) for name in benchmarks}
    return {
        "AKL": {
            "beta": lines("akl/kl_coef"),
            "batch accuracy": lines("accuracy"),
            "KL to the reference": lines("kl"),
        },
        **({"pass@k on questions not trained on": scores} if scores else {}),
        "Curriculum": {
            "effective sample size": lines("curriculum/effective_sample_size"),
            "share seen, and of those on the frontier": lines(
                "curriculum/frac_seen", "curriculum/frac_frontier"
            ),
            "groups without a reward signal": lines("frac_reward_zero_std"),
        },
        "Clipping and entropy": {
            "share of tokens clipped": lines(
                "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"
            ),
            "entropy": lines("entropy"),
        },
        "Completions": {
            "length: mean between shortest and longest": [
                "Margin",
                [f"completions/{kind}_length" for kind in ("mean", "min", "max")],
            ],
            "share cut off by the token limit": lines("completions/clipped_ratio"),
        },
    }


def lines(*tags: str) -> list[Any]:
    """A chart with a line for each of these tags."""
    # TensorBoard takes patterns, which also match a tag that only begins with them.
    return ["Multiline", [re.escape(tag) + "$" for tag in tags]]
