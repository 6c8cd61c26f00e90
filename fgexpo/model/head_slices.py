"""The logits of one slice of the vocabulary after another, and what the LM head needs of each.

:class:`Slices` works anywhere, in several passes over float32 logits. :class:`OnePass` reads 16-bit
logits once, on a GPU, and writes their gradient over them: the same numbers to rounding, in a
quarter of the memory.
"""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from ..heartbeat import beat
from .precision import precise

# Elements of logits at a time: 64 MiB in float32 on a CPU; a GPU needs more rows to stay busy.
LOGITS_PER_CHUNK = {"cpu": 2**24, "cuda": 2**27}
HALF = (torch.bfloat16, torch.float16)
# A GPU multiplies matrices fast if their rows begin at such multiples.
_ALIGNED = 128


class Slices:
    """The logits of one slice after another, all in the same memory.

    Fresh memory for each would cost more time than the arithmetic: the system clears it first.

    Args:
        hidden: in the dtype of the products, [M, H].
        weight_VH: the head's.
        temperature: logits are divided by it.

    Attributes:
        precise: dtype of all that is returned but gradients of logits.
    """

    def __init__(self, hidden: Tensor, weight_VH: Tensor, temperature: float) -> None:
        self.hidden = hidden
        self.weight_VH = weight_VH
        self.temperature = temperature
        self.precise = precise(hidden.dtype)
        limit = LOGITS_PER_CHUNK.get(hidden.device.type, LOGITS_PER_CHUNK["cuda"])
        self.width = self._width(min(len(weight_VH), max(1, limit // max(1, len(hidden)))))
        self._logits = hidden.new_empty(len(hidden) * self.width, dtype=self._kept())
        self._spare: Tensor | None = None

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        """The slice's first token and its logits, [M, v], which may be written over."""
        for start in range(0, len(self.weight_VH), self.width):
            beat()
            weight = self.weight(slice(start, start + self.width))
            shape = (len(self.hidden), len(weight))
            logits_Mv = self._logits[: shape[0] * shape[1]].view(shape)
            self._multiply(weight, logits_Mv)
            yield start, logits_Mv

    def weight(self, rows: slice) -> Tensor:
        """A slice of the head's rows in the computation's dtype."""
        return self.weight_VH[rows].to(self.hidden.dtype)

    def new_column(self) -> Tensor:
        """One number per token."""
        return self.hidden.new_zeros(len(self.hidden), dtype=self.precise)

    def summarise(
        self, logits_Mv: Tensor, start: int, target_M: Tensor, chosen_M: Tensor, mean: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Log of the sum of exponentials, and the mean logit, of one slice.

        Args:
            logits_Mv: the slice's, from the iteration.
            start: its first token.
            target_M: the tokens that are chosen.
            chosen_M: takes their logits where they are in this slice.
            mean: wanted, weighted by the probabilities within the slice.

        Returns:
            [M] each; the second is None unless wanted.
        """
        inside_M, place_M1 = _places(target_M, start, logits_Mv.shape[1])
        chosen_M.copy_(torch.where(inside_M, logits_Mv.gather(1, place_M1)[:, 0], chosen_M))
        top_M = logits_Mv.amax(1)
        shifted_Mv = logits_Mv.sub_(top_M[:, None])
        if not mean:
            return top_M + shifted_Mv.exp_().sum(1).log(), None
        weights_Mv = torch.exp(shifted_Mv, out=self._second(shifted_Mv))
        total_M = weights_Mv.sum(1)
        mean_M = top_M + weights_Mv.mul_(shifted_Mv).sum(1) / total_M
        return top_M + total_M.log(), mean_M

    def gradient(
        self,
        logits_Mv: Tensor,
        start: int,
        target_M: Tensor,
        lse_M: Tensor,
        by_logp_M: Tensor,
        entropy_M: Tensor | None,
        by_entropy_M: Tensor | None,
    ) -> Tensor:
        """The gradient of one slice's logits before the temperature, [M, v].

        Args:
            logits_Mv: the slice's, from the iteration.
            start: its first token.
            target_M: the tokens that are chosen.
            lse_M: log of the sum of exponentials over the whole vocabulary.
            by_logp_M: gradient of each log-prob.
            entropy_M: of the whole vocabulary; None if it was not asked for.
            by_entropy_M: gradient of each entropy; None where there is none.
        """
        factor_M1 = by_logp_M[:, None]
        logp_Mv = logits_Mv.sub_(lse_M[:, None])
        if by_entropy_M is None or entropy_M is None:
            gradient_Mv = logp_Mv.exp_().mul_(-factor_M1)
        else:
            probability_Mv = torch.exp(logp_Mv, out=self._second(logp_Mv))
            gradient_Mv = logp_Mv.add_(entropy_M[:, None]).mul_(by_entropy_M[:, None])
            gradient_Mv.add_(factor_M1).mul_(probability_Mv).neg_()
        inside_M, place_M1 = _places(target_M, start, logits_Mv.shape[1])
        gradient_Mv.scatter_add_(1, place_M1, inside_M[:, None] * factor_M1)
        if self.temperature != 1:
            gradient_Mv.div_(self.temperature)
        return gradient_Mv.to(self.hidden.dtype)

    def _width(self, most: int) -> int:
        return most

    def _kept(self) -> torch.dtype:
        return self.precise

    def _multiply(self, weight: Tensor, logits_Mv: Tensor) -> None:
        if self.precise == self.hidden.dtype:
            torch.mm(self.hidden, weight.t(), out=logits_Mv)
        else:
            logits_Mv.copy_(self.hidden @ weight.t())
        if self.temperature != 1:
            logits_Mv.div_(self.temperature)

    def _second(self, like: Tensor) -> Tensor:
        if self._spare is None:
            self._spare = torch.empty_like(self._logits)
        return self._spare[: like.numel()].view_as(like)


class OnePass(Slices):
    """Logits stay as the product makes them, in 16 bits; see :class:`Slices`."""

    def kernels(self) -> Any:
        """What reads the logits: the functions of :mod:`.head_kernels`."""
        return _kernels()

    def summarise(
        self, logits_Mv: Tensor, start: int, target_M: Tensor, chosen_M: Tensor, mean: bool
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`Slices`; one read."""
        kernels = self.kernels()
        return kernels.summarise(logits_Mv, target_M, start, self.temperature, chosen_M, mean)

    def gradient(
        self,
        logits_Mv: Tensor,
        start: int,
        target_M: Tensor,
        lse_M: Tensor,
        by_logp_M: Tensor,
        entropy_M: Tensor | None,
        by_entropy_M: Tensor | None,
    ) -> Tensor:
        """See :class:`Slices`; one read, and one write over the logits."""
        return self.kernels().gradient_(
            logits_Mv, target_M, start, self.temperature, lse_M, by_logp_M, entropy_M, by_entropy_M
        )

    def _width(self, most: int) -> int:
        return most // _ALIGNED * _ALIGNED or most

    def _kept(self) -> torch.dtype:
        return self.hidden.dtype

    def _multiply(self, weight: Tensor, logits_Mv: Tensor) -> None:
        torch.mm(self.hidden, weight.t(), out=logits_Mv)


def slices(hidden: Tensor, weight_VH: Tensor, temperature: float) -> Slices:
    """The fastest kind for this device and dtype; see :class:`Slices`."""
    one_pass = hidden.is_cuda and hidden.dtype in HALF and kernels_work()
    return (OnePass if one_pass else Slices)(hidden, weight_VH, temperature)


def kernels_work() -> bool:
    """Whether Triton is here with what it builds the start of its kernels from.

    PyTorch for CUDA brings Triton along. Where something lacks, a line says so once.
    """
    if "found" not in _tools:
        compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
        header = Path(sysconfig.get_paths()["include"], "Python.h")
        lacks = {
            "Triton": importlib.util.find_spec("triton") is None,
            f"a C compiler ({' or '.join(compilers)})": not any(map(shutil.which, compilers)),
            f"Python's headers ({header}, in python3-dev)": not header.is_file(),
        }
        missing = [name for name, lacking in lacks.items() if lacking]
        _tools["found"] = not missing
        if missing:
            rank_zero_info(
                "The LM head takes several passes over its logits, about a tenth of an update's "
                f"time; for a single one {' and '.join(missing)} would have to be installed"
            )
    return _tools["found"]


_tools: dict[str, bool] = {}


def _kernels() -> Any:
    # Not at the top: PyTorch for CPUs comes without Triton.
    from . import head_kernels

    return head_kernels


def _places(target_M: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Which targets lie in a slice of the vocabulary, and the column of each, [M, 1]."""
    place_M = target_M - start
    return (place_M >= 0) & (place_M < width), place_M.clamp(0, width - 1)[:, None]
