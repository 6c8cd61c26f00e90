"""The frozen reference policy, kept out of every place where PyTorch collects modules."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from ..model.lora import adapters_off
from ..parallel.sharding import is_sharded


class Reference(ABC):
    """Lends a model with the weights that the run began with.

    It is no module: as a submodule it would be saved in every checkpoint, given to the optimizer
    and flipped to train mode.
    """

    def settle(self, device: torch.device) -> None:  # noqa: B027
        """Training begins on this device."""

    @abstractmethod
    def scoring(self, device: torch.device) -> AbstractContextManager[nn.Module]:
        """The model, ready to be called on the device."""


class FrozenReference(Reference):
    """A copy of the weights.

    Args:
        model: which is frozen.
        offload: it rests in the host's memory. A sharded model sees to that itself.
    """

    def __init__(self, model: nn.Module, offload: bool = False) -> None:
        self.model = model.eval().requires_grad_(False)
        self.offload = offload

    def settle(self, device: torch.device) -> None:
        """See :class:`Reference`."""
        if not self.offload:
            self.model.to(device)

    @contextmanager
    def scoring(self, device: torch.device) -> Iterator[nn.Module]:
        """See :class:`Reference`."""
        travels = self.offload and not is_sharded(self.model)
        if travels:
            self.model.to(device)
        try:
            yield self.model
        finally:
            if travels:
                self.model.to("cpu")


class AdapterOff(Reference):
    """The policy without its adapters: no second copy.

    Args:
        policy: with adapters.
    """

    def __init__(self, policy: nn.Module) -> None:
        self.policy = policy

    @contextmanager
    def scoring(self, device: torch.device) -> Iterator[nn.Module]:
        """See :class:`Reference`."""
        with adapters_off(self.policy):
            yield self.policy
