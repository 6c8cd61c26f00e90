"""``model.deterministic``: two runs of the same command on the same GPUs are equal bit for bit.

On a CPU they are anyway. On a GPU PyTorch takes, by default, the fastest kernels: some add up in
whatever order their threads finish. Asked for deterministic ones it takes flash attention instead
of cuDNN's, sorts where it would add by atomics, and raises an error where it has nothing else;
cuBLAS needs a workspace of fixed size besides. This project's own kernels have one order.

It costs time: attention's backward pass and the gradients of gathered rows are slower, sums over
the vocabulary that draw tokens take several passes, and fresh memory is filled first.

``trainer.deterministic`` sets the same flags for good, when the trainer is made, and looks at no
engine; a run that is meant to repeat needs an engine that repeats too.
"""

import os
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from ..errors import UserError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# The sizes for which cuBLAS promises the same result every time; the first is the faster one.
FIXED = (":4096:8", ":16:8")


def check_workspace() -> None:
    """Check that the environment does not give cuBLAS a workspace of another size.

    Raises:
        UserError: naming the variable and its value.
    """
    given = os.environ.get(WORKSPACE)
    if given is not None and given not in FIXED:
        raise UserError(
            f"model.deterministic = true needs {WORKSPACE} to be {' or '.join(FIXED)}, or not set, "
            f"got {given!r}"
        )


class Deterministic(Callback):
    """Turns PyTorch's deterministic algorithms on for a fit, and back to what they were."""

    def __init__(self) -> None:
        self._before: tuple[Any, ...] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Before the model is opened, and so before cuBLAS has begun."""
        if stage != "fit":
            return
        self._before = (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            os.environ.get(WORKSPACE),
        )
        os.environ.setdefault(WORKSPACE, FIXED[0])
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A fit has ended."""
        self._restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """A fit has failed, after which Lightning tears nothing down."""
        self._restore()

    def _restore(self) -> None:
        if self._before is None:
            return
        on, warn_only, deterministic, benchmark, workspace = self._before
        self._before = None
        torch.use_deterministic_algorithms(on, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = (
            deterministic,
            benchmark,
        )
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
