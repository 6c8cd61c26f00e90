"""Whether results were measured on these very weights: their fingerprint says it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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
    _known: dict[torch.dtype, set[str]] = field(default_factory=dict, init=False, repr=False)

    def fingerprints(self, dtype: torch.dtype) -> set[str]:
        """Those that an evaluation in this dtype may note, from the checkpoint or the folder.

        Every weight is cast for it, so the answer is kept: many evaluations may be asked about.
        """
        if dtype not in self._known:
            kind = type(self.model).__name__
            self._known[dtype] = {
                fingerprint_weights(kind, ((name, w.detach().to(dtype)) for name, w in given))
                for given in (self.model.named_parameters(), self._parameters())
            }
        return self._known[dtype]

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


def is_other_base(folder: Path, dtype: str, began: str, model: nn.Module) -> bool:
    """Whether the weights of a base are not those that a run began with.

    Args:
        folder: of the base.
        dtype: ``model.dtype`` of the run.
        began: fingerprint of the weights that it began with.
        model: what became of them.

    Returns:
        False, too, where this cannot be known: no such files, or other names in them.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        return False
    try:
        files = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
        place = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        weights = (
            (name, place[name].get_tensor(name).to(kind)) for name in _parameter_names(model)
        )
        return fingerprint_weights(type(model).__name__, weights) != began
    except (KeyError, OSError, SafetensorError):
        return False


def _parameter_names(model: nn.Module) -> Iterator[str]:
    """Without those that are tied to another."""
    seen: set[int] = set()
    for name, weight in model.named_parameters():
        if weight.data_ptr() not in seen:
            seen.add(weight.data_ptr())
            yield name
