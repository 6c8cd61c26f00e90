"""GSPO: one importance ratio for each sequence, clipped as a whole (arXiv 2507.18071)."""

from typing import Any

from .aggregation import Aggregation
from .clipped import Clipped


class GSPO(Clipped):
    """The clipped surrogate of a sequence's ratio, ``s = (pi(y) / pi_old(y))^(1 / |y|)``.

    Its equations (5) and (7). A mean over tokens stays near 1, hence the clip range of its section
    5.1, a thousandth of PPO's. It is ``Clipped`` with ``ratio: sequence`` and these defaults.

    Args:
        clip_low: see :class:`Clipped`.
        clip_high: see the same.
        dual_clip: see the same; off, as in the paper.
        aggregation: see :class:`PolicyLoss`.
        **shared: the settings of every loss, see the same; ``ratio`` is ``sequence``.
    """

    def __init__(
        self,
        clip_low: float = 3e-4,
        clip_high: float = 4e-4,
        dual_clip: float | None = None,
        aggregation: Aggregation = "sequence_mean",
        **shared: Any,
    ) -> None:
        super().__init__(
            clip_low, clip_high, dual_clip, ratio="sequence", aggregation=aggregation, **shared
        )
