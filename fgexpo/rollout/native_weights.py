"""The policy as decoding sees it: the same weights, those of its products in the compute dtype.

Under autocast, without its cache, every weight of a linear layer is rounded to bf16 again for every
token. For a token of few rows that is most of the bytes that decoding moves. Here it happens once:
the products get the same bits.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from ..model.compiled import PLAIN


def decoding_copy(policy: nn.Module, device: torch.device) -> Any:
    """A second tree of modules over the policy's tensors; the policy stays as it is.

    It has no hooks: FSDP2's would wait for other streams, which a CUDA graph cannot record.

    Args:
        policy: with whole weights; FSDP2's must be gathered.
        device: whose autocast, if it is on, rounds the weights and biases of the linear layers.
    """
    dtype = torch.get_autocast_dtype(device.type)
    rounds = torch.is_autocast_enabled(device.type)
    made: dict[int, nn.Module] = {}  # a module may stand in several places

    def copy(module: nn.Module) -> nn.Module:
        if id(module) not in made:
            own = made[id(module)] = _bare(module)
            # A subclass may do more with its weight than autocast knows.
            linear = rounds and type(own).forward is nn.Linear.forward
            own._parameters = {
                name: None if held is None else _rounded(held, dtype if linear else held.dtype)
                for name, held in module._parameters.items()
            }  # pyright: ignore[reportAttributeAccessIssue]
            own._modules = {
                name: None if child is None else copy(child)
                for name, child in module._modules.items()
            }
        return made[id(module)]

    return copy(policy)


def _bare(module: nn.Module) -> Any:
    """The module's own attributes in an object of its class, without hooks."""
    kinds = type(module).__mro__
    bare: Any = object.__new__(next(kind for kind in kinds if not issubclass(kind, FSDPModule)))
    hooks = {name: type(held)() for name, held in vars(module).items() if name.endswith("_hooks")}
    vars(bare).update({**vars(module), **hooks, "_buffers": dict(module._buffers)})
    if "forward" in vars(bare):
        bare.forward = _of_its_own(module, bare)
    return bare


def _of_its_own(module: nn.Module, bare: nn.Module) -> Any:
    """A forward pass that lies in a module's object, for the copy and with its weights."""
    forward = vars(module)["forward"]
    forward = getattr(forward, PLAIN, forward)  # decoding is not compiled
    if isinstance(forward, MethodType) and forward.__self__ is module:
        return MethodType(forward.__func__, bare)
    return forward


def _rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    # Autocast leaves float64 as it is.
    return weight.detach().to(dtype if weight.dtype == torch.float32 else weight.dtype)
