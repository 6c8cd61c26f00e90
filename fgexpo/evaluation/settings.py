"""Settings of evaluation."""

from dataclasses import dataclass, field

from ..errors import UserError
from ..rollout import Sampling


@dataclass
class EvaluationSettings:
    """How validation and test sample and score.

    Attributes:
        rollouts: n, completions per question.
        ks: the values of k of pass@k, each at most n.
        sampling: how completions are drawn; its token budget is separate from training's.
        maj_ks: the values of k of maj@k, likewise.
        break_down_by: tags of the questions to score separately by value, such as ``level``.
    """

    rollouts: int = 32
    ks: list[int] = field(default_factory=lambda: [1, 8, 32])
    sampling: Sampling = field(default_factory=Sampling)
    maj_ks: list[int] = field(default_factory=list)
    break_down_by: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.rollouts < 1:
            raise UserError(f"model.evaluation.rollouts must be at least 1, got {self.rollouts}")
        for name in ("ks", "maj_ks"):
            for k in getattr(self, name):
                if not 1 <= k <= self.rollouts:
                    raise UserError(
                        f"model.evaluation.{name}: {k} is not between 1 and "
                        f"model.evaluation.rollouts = {self.rollouts}"
                    )
