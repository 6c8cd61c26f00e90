"""The bias of each KL penalty's gradient, by enumeration: ``python benchmarks/kl_gradients.py``.

A policy over twenty outcomes, in float64, whose logits are its parameters. The old policy has left
the reference a little; seven exact steps up the expected reward then make it the policy of a
rollout batch's eighth update. The mean of each penalty over the old policy's outcomes is a sum,
and its gradient is compared with that of the KL itself.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fgexpo.losses import K1, K2, K3, Estimated, InReward, KLPenalty, Unclipped
from fgexpo.losses.in_reward import kl_cost

OUTCOMES = 20
UPDATES = 8
STEP = 0.2
SHIFT = 0.5
# Less than this is rounding.
ROUNDING = 1e-10

PENALTIES: dict[str, KLPenalty] = {
    "`K1`": K1(),
    "`K2`": K2(),
    "`K3` (default)": K3(),
    "`Estimated(k1, k2)`": Estimated("k1", "k2"),
    "`K1(importance)`": K1(importance=True),
    "`K2(importance)`": K2(importance=True),
    "`K3(importance)`": K3(importance=True),
    "`Estimated(k1, k2, importance)`": Estimated("k1", "k2", importance=True),
}
IN_REWARD = "`InReward`, with `Unclipped`"


def policies() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the reference, of the old policy and of the eighth update's, [20] each."""
    generator = torch.Generator().manual_seed(0)
    reference, shift, reward = torch.randn(3, OUTCOMES, generator=generator, dtype=torch.float64)
    old = reference + SHIFT * shift
    moved = old.clone()
    for _ in range(UPDATES - 1):
        probability = moved.softmax(0)
        moved += STEP * probability * (reward - probability @ reward)
    return reference, old, moved


def exact(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference)."""
    logp = logits.log_softmax(0)
    return logp.exp() @ (logp - reference.log_softmax(0))


def in_loss(penalty: KLPenalty, logits: Tensor, old: Tensor, reference: Tensor) -> Tensor:
    """The mean penalty over the old policy's outcomes."""
    logp_1T, old_1T = logits.log_softmax(0)[None], old.log_softmax(0)[None]
    ratio_1T = (logp_1T - old_1T).exp()
    return old_1T.exp()[0] @ penalty.penalty(logp_1T, reference.log_softmax(0)[None], ratio_1T)[0]


def in_reward(logits: Tensor, old: Tensor, reference: Tensor) -> Tensor:
    """The mean policy loss over the old policy's outcomes, whose reward is what the KL costs."""
    logp_N1, old_N1 = logits.log_softmax(0)[:, None], old.log_softmax(0)[:, None]
    mask_N1 = torch.ones_like(logp_N1, dtype=torch.bool)
    cost_N = kl_cost(old_N1, reference.log_softmax(0)[:, None], mask_N1, 1.0)
    probability_N = old_N1.exp()[:, 0]
    advantages_N = -(cost_N - probability_N @ cost_N)
    ratio_N1 = (logp_N1 - old_N1).exp()
    return probability_N @ Unclipped().policy_loss(ratio_N1, logp_N1, advantages_N)[:, 0]


def gradient(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Of a function of the logits, [20]."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(function(logits), logits)[0]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference, over that of what was expected."""
    return float((found - expected).norm() / expected.norm())


def errors() -> dict[str, list[float]]:
    """By penalty: relative error of value and gradient, at the first and at the eighth update."""
    reference, old, moved = policies()
    found: dict[str, list[float]] = {}
    for name in [*PENALTIES, IN_REWARD]:
        row = []
        for logits in (old, moved):

            def mean(x: Tensor, name: str = name) -> Tensor:
                if name == IN_REWARD:
                    return in_reward(x, old, reference)
                return in_loss(PENALTIES[name], x, old, reference)

            kl = exact(logits, reference)
            logged = InReward() if name == IN_REWARD else PENALTIES[name]
            row.append(relative_error(in_loss(logged, logits, old, reference), kl))
            true = gradient(lambda x: exact(x, reference), logits)
            row.append(relative_error(gradient(mean, logits), true))
        found[name] = row
    return found


def table() -> list[str]:
    """As docs/algorithms.md has it."""
    rows = [
        "| penalty | value, update 1 | gradient, update 1 | value, update 8 | gradient, update 8 |",
        "|---|---|---|---|---|",
    ]
    for name, row in errors().items():
        cells = ["0" if error < ROUNDING else f"{error:.3f}" for error in row]
        rows.append("| " + " | ".join([name, *cells]) + " |")
    return rows


if __name__ == "__main__":
    reference, old, moved = policies()
    print(f"KL of policy and reference: {exact(old, reference):.3f}, {exact(moved, reference):.3f}")
    print(f"KL of policy and old policy: {exact(moved, old):.4f}")
    print("\n".join(table()))
