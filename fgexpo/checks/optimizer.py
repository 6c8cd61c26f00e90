"""The optimizer's settings, tried on one weight before any model is loaded."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ..errors import UserError
from ..outside import first_line
from ..robustness.same_run import Fact, optimizer_facts


def try_optimizer(make: Callable[[Any], torch.optim.Optimizer], **schedule: int) -> dict[str, Fact]:
    """What this optimizer and its schedule are, as facts that a resumed run must share.

    Says so if its learning rate is 0, which is a measurement and no training.

    Args:
        make: makes it from a list of weights.
        schedule: the settings of the learning rate's schedule, by name.

    Raises:
        UserError: for settings that its class refuses, or one that must evaluate the loss itself.
    """
    try:
        # Two dimensions, since some classes take matrices alone.
        optimizer = make([nn.Parameter(torch.zeros(2, 2))])
    except (TypeError, ValueError) as error:
        raise UserError(f"model.optimizer cannot be made ({first_line(error)})") from error
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UserError(
            f"model.optimizer {type(optimizer).__name__} evaluates the loss itself, several times "
            "a step, which is not supported; choose another such as torch.optim.AdamW"
        )
    if all(group.get("lr") == 0 for group in optimizer.param_groups):
        rank_zero_info("warning: model.optimizer.lr is 0, so no weight will change")
    steps = {f"model.{name}": value for name, value in schedule.items()}
    return {**optimizer_facts(optimizer), **steps}
