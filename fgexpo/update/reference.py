"""The reference policy, kept out of every place where PyTorch collects modules."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..model.lora import adapters_off
from ..parallel.sharding import gathered, is_sharded, like, own_part
from ..parallel.slices import Slices


class Reference(ABC):
    """Lends a model with the weights that the run began with, or those that it was moved to.

    It is no module: as a submodule it would be given to the optimizer and flipped to train mode. It
    is saved once it was moved; until then it is what the run begins with anyway.

    Attributes:
        moved: whether it differs from the start.
    """

    moved = False

    def settle(self, device: torch.device) -> None:  # noqa: B027
        """Training begins on this device."""

    @abstractmethod
    def scoring(self, device: torch.device) -> AbstractContextManager[nn.Module]:
        """The model, ready to be called on the device."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """What differs between reference and policy, by the policy's names; cut as there."""

    def follow(self, policy: nn.Module, share: float) -> None:
        """Move towards the policy: ``reference <- (1 - share) reference + share policy``.

        Every process moves its own slices, with nothing to tell the others.

        Args:
            policy: after its updates.
            share: 1 makes the reference the policy, bit for bit.
        """
        theirs = dict(policy.named_parameters())
        for name, weight in self.weights().items():
            own = own_part(weight)
            target = own_part(theirs[name]).to(own.device)
            own.copy_(target) if share == 1 else own.lerp_(target, share)
        self.moved = True

    def state_dict(self, keep: bool, in_slices: bool = False) -> dict[str, Tensor]:
        """Whole weights; all processes gather sharded ones.

        Args:
            keep: whether this process is the one that saves them; on the others sharded weights
                come back empty.
            in_slices: leave sharded weights as they are.
        """
        weights = self.weights()
        if in_slices:
            return {name: weight.detach() for name, weight in weights.items()}
        return {name: gathered(weight, keep) for name, weight in weights.items()}

    def load_state_dict(self, state: Mapping[str, Tensor | Slices]) -> None:
        """Restore it; every process takes its slices.

        Raises:
            UserError: for weights of other names or shapes.
        """
        mine = self.weights()
        shapes = {name: weight.shape for name, weight in mine.items()}
        if {name: weight.shape for name, weight in state.items()} != shapes:
            raise UserError(
                "--ckpt_path: the checkpoint's reference has weights of other names or shapes than "
                "this run's; `export` the checkpoint and start a new run from that folder"
            )
        for name, weight in mine.items():
            own_part(weight).copy_(own_part(like(state[name], weight)))
        self.moved = True


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

    def weights(self) -> dict[str, Tensor]:
        """All of them."""
        return dict(self.model.named_parameters())


class AdapterOff(Reference):
    """The policy without its adapters, or with adapters of an earlier moment: no second copy.

    Args:
        policy: with adapters, as the run begins.
        moves: adapters are to be kept, a second set, since the reference will move.
    """

    def __init__(self, policy: Any, moves: bool = False) -> None:
        self.policy = policy
        self._kept: dict[str, Tensor] = {}
        if moves:
            self._keep()

    def settle(self, device: torch.device) -> None:
        """See :class:`Reference`."""
        self._kept = {
            name: weight if is_sharded(self.policy) else weight.to(device)
            for name, weight in self._kept.items()
        }

    @contextmanager
    def scoring(self, device: torch.device) -> Iterator[nn.Module]:
        """See :class:`Reference`."""
        if not self.moved:
            with adapters_off(self.policy):
                yield self.policy
            return
        theirs = {name: own_part(weight) for name, weight in self._adapters()}
        aside = {name: weight.clone() for name, weight in theirs.items()}
        for name, weight in self._kept.items():
            theirs[name].copy_(own_part(weight))
        try:
            yield self.policy
        finally:
            for name, weight in aside.items():
                theirs[name].copy_(weight)

    def weights(self) -> dict[str, Tensor]:
        """The kept adapters."""
        return self._kept

    def load_state_dict(self, state: Mapping[str, Tensor | Slices]) -> None:
        """See :class:`Reference`. A run that moves it no more has kept no adapters yet."""
        if not self._kept:
            self._keep()
        super().load_state_dict(state)

    def _keep(self) -> None:
        self._kept = {name: weight.detach().clone() for name, weight in self._adapters()}

    def _adapters(self) -> Iterator[tuple[str, nn.Parameter]]:
        named = self.policy.named_parameters()
        return ((name, weight) for name, weight in named if weight.requires_grad)
