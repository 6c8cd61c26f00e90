"""TensorBoard's Custom Scalars tab: related curves in grouped charts."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from fgexpo.rewards.reward import is_accuracy

from .akl import KLController
from .tensorboard import WrittenOnce

# By category and title: the kind of chart, and its tags.
Layout = dict[str, dict[str, list[Any]]]


GLANCE = "Does it learn, on what, how far from the reference"


class ScalarLayout(WrittenOnce):
    """Groups what is logged into charts, as :func:`scalar_layout` says."""

    def write(self, writer: Any, trainer: Any, pl_module: Any) -> None:
        """Write the layout."""
        layout = scalar_layout(
            getattr(trainer.datamodule, "val", {}),
            pl_module.evaluation.ks,
            reward_is_accuracy=is_accuracy(pl_module.rewards),
            beta_changes=any(isinstance(rule, KLController) for rule in trainer.callbacks),
        )
        writer.add_custom_scalars(layout)


def scalar_layout(
    benchmarks: Iterable[str],
    ks: Sequence[int],
    reward_is_accuracy: bool = True,
    beta_changes: bool = True,
) -> Layout:
    """The charts of a run; the first category fits a screen and says how the run is doing.

    Args:
        benchmarks: what the run is evaluated on.
        ks: each one's pass@k for these k.
        reward_is_accuracy: the reward is 1 for a right answer and 0 otherwise, so that its curve
            would be that of accuracy again.
        beta_changes: a rule sets the KL coefficient; a constant one is not logged.
    """
    names = list(benchmarks)
    scores = {name: lines(*[f"val/{name}/pass@{k}" for k in ks]) for name in names}
    return {
        GLANCE: {
            "accuracy in training" if reward_is_accuracy else "accuracy and reward in training": (
                lines("accuracy", *([] if reward_is_accuracy else ["reward"]))
            ),
            **_glance_at_scores(names, ks),
            "share of groups without a signal": lines("frac_reward_zero_std"),
            "share of questions on the frontier": lines("curriculum/frac_frontier_batch"),
            "KL to the reference": lines("kl"),
            **({"beta, the KL coefficient": lines("akl/kl_coef")} if beta_changes else {}),
            "entropy": lines("entropy"),
            "length: mean between shortest and longest": [
                "Margin",
                [f"completions/{kind}_length" for kind in ("mean", "min", "max")],
            ],
        },
        **({"pass@k on questions not trained on": scores} if scores else {}),
        "Curriculum": {
            "effective sample size, as a share of the pool": lines("curriculum/frac_effective"),
            "share seen, and of those on the frontier": lines(
                "curriculum/frac_seen", "curriculum/frac_frontier"
            ),
            "mean pass-rate of those seen": lines("curriculum/mean_pass_rate"),
        },
        "Updates": {
            "share of tokens clipped": lines(
                "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"
            ),
            "gradient norm": lines("grad_norm"),
            "learning rate": lines("learning_rate"),
        },
        "Rollouts": {
            "share cut off by the token limit; without an answer": lines(
                "completions/clipped_ratio", "reward/no_answer_frac"
            ),
            "sampler against trainer: mean difference of log-probs": lines(
                "sampling/sampling_logp_difference/mean"
            ),
            "seconds: generating, scoring, updating": lines(
                "time/generate", "time/score", "time/update"
            ),
        },
    }


def _glance_at_scores(names: Sequence[str], ks: Sequence[int]) -> dict[str, list[Any]]:
    """One chart: every k of a single benchmark, or the smallest k of each of several."""
    if not names:
        return {}
    if len(names) == 1:
        return {f"pass@k on {names[0]}": lines(*[f"val/{names[0]}/pass@{k}" for k in ks])}
    k = min(ks)
    return {f"pass@{k} on each benchmark": lines(*[f"val/{name}/pass@{k}" for name in names])}


def lines(*tags: str) -> list[Any]:
    """A chart with a line for each of these tags."""
    # TensorBoard takes patterns, which also match a tag that only begins with them.
    return ["Multiline", [re.escape(tag) + "$" for tag in tags]]
