"""``model.kernels: liger``: fused RMSNorm, rotary embedding and SwiGLU from liger-kernel.

liger-kernel patches a model's modules, but the rotary function and the classes of models to come it
patches for the whole process. Here one model is changed and no other: a reference, a second run in
the same process or a trial on a CPU computes as before. Its fused losses stay off; log-probs have
a head of their own (:mod:`fgexpo.model.lm_head`).
"""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any, Literal

from ..errors import UserError

Kernels = Literal["none", "liger"]
INSTALL = "pip install -e '.[liger]'"
_PARTS = {"rope": True, "rms_norm": True, "swiglu": True}
_OTHERS = {"cross_entropy": False, "fused_linear_cross_entropy": False}
_ROTARY = "apply_rotary_pos_emb"


def check_kernels(kernels: str, model_type: str, on_gpu: bool) -> None:
    """Check that these kernels run here, for such a model.

    Args:
        kernels: ``none`` or ``liger``.
        model_type: as ``config.json`` has it.
        on_gpu: the model is going to be on a CUDA device.

    Raises:
        UserError: naming the setting and what is missing.
    """
    if kernels == "none":
        return
    if kernels != "liger":
        raise UserError(f"model.kernels must be liger or none, got {kernels!r}")
    if not on_gpu:
        raise UserError(
            "model.kernels = liger needs a CUDA GPU, and this run is on none; leave it at none"
        )
    if importlib.util.find_spec("liger_kernel") is None:
        raise UserError(f"model.kernels = liger needs liger-kernel: `{INSTALL}`")
    _patch_of(model_type)


def use_kernels(model: Any, kernels: str) -> None:
    """Let a model's norms, rotary embeddings and MLPs run by these kernels, in place.

    Weights and their names stay the same.

    Args:
        model: a causal LM without adapters, not sharded.
        kernels: ``none`` or ``liger``.

    Raises:
        UserError: for a model type that liger-kernel does not know.
    """
    if kernels == "none":
        return
    patch = _patch_of(model.config.model_type)
    modeling = importlib.import_module(type(model).__module__)
    before = dict(vars(modeling))
    try:
        patch(model=model, **_PARTS, **_OTHERS)
        rotary = vars(modeling)[_ROTARY]
    finally:
        vars(modeling).update(before)
    found = [_rotate_by(part, modeling, rotary) for part in model.modules()]
    if rotary is before.get(_ROTARY) or not any(found):
        raise UserError(_unknown(model.config.model_type))


def _rotate_by(part: Any, modeling: Any, rotary: Callable[..., Any]) -> bool:
    """Give an attention layer a forward pass with another rotary function; whether it is one."""
    forward = getattr(type(part), "forward", None)
    if not isinstance(forward, FunctionType) or forward.__globals__ is not vars(modeling):
        return False
    if _ROTARY not in forward.__code__.co_names:
        return False
    names = {**vars(modeling), _ROTARY: rotary}
    own = FunctionType(
        forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__
    )
    own.__kwdefaults__ = forward.__kwdefaults__
    part.forward = MethodType(own, part)
    return True


def _patch_of(model_type: str) -> Callable[..., None]:
    """liger-kernel's function for a model type, if it takes these parts and knows no others."""
    from liger_kernel.transformers.monkey_patch import (  # pyright: ignore[reportMissingImports]
        MODEL_TYPE_TO_APPLY_LIGER_FN,
    )

    known: Mapping[str, Callable[..., None]] = MODEL_TYPE_TO_APPLY_LIGER_FN
    patch = known.get(model_type)
    wanted = {"model", *_PARTS, *_OTHERS}
    if patch is None or set(inspect.signature(patch).parameters) != wanted:
        raise UserError(_unknown(model_type))
    return patch


def _unknown(model_type: str) -> str:
    return (
        f"model.kernels = liger: liger-kernel has no RMSNorm, rotary embedding and SwiGLU for a "
        f"{model_type!r} model here; set it to none"
    )
