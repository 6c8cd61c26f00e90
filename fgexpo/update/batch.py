"""The batch that an update reads: graded rollouts, and what only training adds to them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..advantages.estimator import Known
from ..model.sequences import Sequences
from ..types import Asked, RolloutBatch


@dataclass(kw_only=True)
class TrainingBatch(RolloutBatch):
    """Rollouts with everything that the loss needs.

    Attributes:
        asked: every question that the whole step has asked, over all processes.
        advantages_N: [N].
        sequences: prompts and completions joined, N rows.
        cuts: rows of each optimizer step's micro-batches, one list per optimizer step.
        weight_N: how much each rollout counts in the loss, [N]; None where all count 1.
        known: of the questions of all processes, before this step.
        ref_logp_NT: log-probs of the reference, [N, T]; None without a KL term.
        old_logp_NT: log-probs of the policy before its first update, [N, T]. The rows of
            that update get theirs during it; until then they are NaN.
        entropy_N: the same policy's entropy, summed over each rollout's tokens, [N].
    """

    asked: Asked
    advantages_N: Tensor
    sequences: Sequences
    cuts: list[list[Tensor]]
    weight_N: Tensor | None = None
    known: Known = field(default_factory=Known)
    ref_logp_NT: Tensor | None = None
    old_logp_NT: Tensor = field(init=False)
    entropy_N: Tensor = field(init=False)

    def __post_init__(self) -> None:
        # Not zeros: whoever reads a row too early shall notice.
        self.old_logp_NT = torch.full_like(self.completions.logp_NT, torch.nan)
        self.entropy_N = torch.full_like(self.reward_N, torch.nan)

    def note_old_policy(self, rows: Tensor, logp_nT: Tensor, entropy_nT: Tensor) -> None:
        """Keep what the policy gave to some rows before its first update.

        Args:
            rows: which rollouts, [n].
            logp_nT: log-probs of their completion tokens, 0 in the padding, [n, T].
            entropy_nT: entropies of the same tokens, [n, T].
        """
        self.old_logp_NT[rows] = logp_nT.detach().to(self.old_logp_NT)
        self.entropy_N[rows] = entropy_nT.detach().sum(1).to(self.entropy_N)
