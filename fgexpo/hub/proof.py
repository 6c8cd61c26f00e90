"""Whether results were measured on these very weights: their fingerprint says it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..evaluation.identity import DTYPE, WEIGHTS
from ..robustness.same_run import fingerprint_weights


@dataclass(frozen=True)
class Exported:
    """The weights of an export.

    Attributes:
        model: as it is written, adapters merged.
        trained: the checkpoint's own weights by name, which `test --ckpt_path` evaluates.
    """

    model: nn.Module
    trained: Mapping[str, Tensor]

    def fingerprints(self, dtype: torch.dtype) -> set[str]:
        """Those that an evaluation in this dtype may note, from the checkpoint or the folder."""
        kind = type(self.model).__name__
        return {
            fingerprint_weights(kind, ((name, weight.detach().to(dtype)) for name, weight in given))
            for given in (self.model.named_parameters(), self._parameters())
        }

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The trained ones without what a state holds beside parameters: buffers, tied copies."""
        buffers = {name for name, _ in self.model.named_buffers()}
        seen: set[int] = set()
        for name, weight in self.trained.items():
            if name not in buffers and weight.data_ptr() not in seen:
                seen.add(weight.data_ptr())
                yield name, weight


def measured_on(results: Mapping[str, Any], exported: Exported) -> bool:
    """Whether results are of these weights."""
    identity = results["identity"]
    dtype = getattr(torch, str(identity.get(DTYPE)).partition(",")[0], None)
    if not isinstance(dtype, torch.dtype):
        return False
    return identity.get(WEIGHTS) in exported.fingerprints(dtype)
