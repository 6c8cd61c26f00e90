"""The frozen reference policy, kept out of every place where PyTorch collects modules."""

import torch
from torch import nn


class FrozenReference:
    """Holds a model without being a module.

    As a submodule it would be saved in every checkpoint, given to the optimizer and flipped to
    train mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval().requires_grad_(False)

    def to(self, device: torch.device) -> "FrozenReference":
        """Move the weights."""
        self.model.to(device)
        return self
