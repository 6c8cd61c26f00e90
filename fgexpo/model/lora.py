"""LoRA through peft: small trained matrices beside frozen weights (arXiv 2106.09685)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .precision import precise

ALL = "all-linear"
_BASE, _DOWN, _UP = ".base_layer.", ".lora_A.default.", ".lora_B.default."


@dataclass(frozen=True)
class LoRA:
    """Adapters; without dropout, which would make old and new log-probs differ.

    A checkpoint holds the frozen weights too, so that one file is all that `export` needs.

    Attributes:
        rank: of the update of each weight matrix.
        alpha: the update is scaled by alpha / rank.
        targets: names of the layers to adapt, or ``all-linear`` for all but the LM head.

    Raises:
        UserError: on settings out of range.
    """

    rank: int = 32
    alpha: int = 64
    targets: str | list[str] = ALL

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"model.lora.rank must be at least 1, got {self.rank}")
        if self.alpha <= 0:
            raise UserError(f"model.lora.alpha must be above 0, got {self.alpha}")
        if isinstance(self.targets, str) and self.targets != ALL:
            raise UserError(
                f"model.lora.targets must be {ALL!r} or a list of layer names, got {self.targets!r}"
            )

    @property
    def scale(self) -> float:
        """The factor on the product of an adapter's two matrices."""
        return self.alpha / self.rank


def adapt(model: nn.Module, lora: LoRA, seed: int) -> None:
    """Freeze a model and add adapters, which change nothing until they are trained.

    Args:
        model: from Hugging Face.
        lora: the adapters' shape.
        seed: of their random half.

    Raises:
        UserError: when peft is not installed, or the model has no layer of these names.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("model.lora needs peft: `pip install -e '.[lora]'`") from error
    settings: Any = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, lora_dropout=0.0
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(settings, model)
        except ValueError as error:
            raise UserError(f"model.lora.targets = {lora.targets}: {error}") from error
    head: Any = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    for name, layer in model.named_modules():
        if not hasattr(layer, "get_delta_weight"):
            continue
        if layer is head or not _is_linear(layer.base_layer):
            raise UserError(
                f"model.lora.targets = {lora.targets}: {name} cannot be adapted; name linear "
                "layers other than the LM head"
            )


def _is_linear(layer: Any) -> bool:
    """Whether it computes what a linear layer does; a router of that class may do more."""
    if getattr(type(layer), "forward", None) is nn.Linear.forward:
        return True
    if not isinstance(layer, nn.Linear):
        return False
    with torch.no_grad():
        x_1H = torch.linspace(-1, 1, layer.in_features).to(layer.weight)[None]
        found, expected = layer(x_1H.clone()), nn.functional.linear(x_1H, layer.weight, layer.bias)
    return isinstance(found, torch.Tensor) and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


def is_adapted(model: nn.Module) -> bool:
    """Whether a model has adapters."""
    return any(True for _ in _layers(model))


def check_same_adapters(saved: Mapping[str, Any] | None, now: LoRA | None) -> None:
    """Compare a checkpoint's adapters with a module's.

    Raises:
        UserError: naming both.
    """
    if saved != (None if now is None else asdict(now)):
        raise UserError(
            f"--ckpt_path: the checkpoint's model.lora is {dict(saved) if saved else None}, this "
            f"run's is {None if now is None else asdict(now)}; set it the same, or `export` the "
            "checkpoint and start from that folder"
        )


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Run the block with the model as it was before :func:`adapt`."""
    layers = list(_layers(model))
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged(weights: Mapping[str, Tensor], scale: float) -> Iterator[tuple[str, Tensor]]:
    """An adapted model's weights, merged, under the names that they have without adapters.

    Args:
        weights: by name, whole.
        scale: :attr:`LoRA.scale`.
    """
    for name, weight in weights.items():
        if _DOWN in name or _UP in name:
            continue
        down = weights.get(name.replace(_BASE, _DOWN))
        if _BASE in name and name.endswith(".weight") and down is not None:
            up, full = weights[name.replace(_BASE, _UP)], precise(down.dtype)
            weight = weight + (scale * (up.to(full) @ down.to(full))).to(weight.dtype)
        yield name.replace(_BASE, "."), weight


def _layers(model: nn.Module) -> Iterator[Any]:
    return (layer for layer in model.modules() if hasattr(layer, "get_delta_weight"))
