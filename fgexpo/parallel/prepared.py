"""From a model as it was opened to one that trains or scores: policy and reference alike.

Both go the same way, so that they round alike and a KL of equal weights is 0.
"""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Trainer

from ..model.beats import beat_by_layer
from ..model.compiled import check_compile, compile_layers
from ..model.exactness import choose_rows
from ..model.kernels import Kernels, check_kernels, use_kernels
from ..model.loading import on_cpu
from ..model.logprobs import freeze_unused
from ..model.lora import LoRA, adapt
from .sharding import shard, shards

__all__ = ["Kernels", "Preparation"]


@dataclass(frozen=True)
class Preparation:
    """The settings of a policy module that change how its models compute, but not what.

    Attributes:
        kernels: see :mod:`fgexpo.model.kernels`.
        compile_layers: see :mod:`fgexpo.model.compiled`.
        checkpointing: recompute a layer's activations in the backward pass.
    """

    kernels: Kernels = "none"
    compile_layers: bool = False
    checkpointing: bool = False

    def check(self, model_type: str, on_gpu: bool) -> None:
        """Check, before any weight is loaded, that they work here.

        Raises:
            UserError: naming the setting.
        """
        check_compile(self.compile_layers, self.kernels)
        check_kernels(self.kernels, model_type, on_gpu)

    def policy(self, model: Any, trainer: Trainer, lora: LoRA | None, seed: int) -> Any:
        """A model to train.

        Args:
            model: from Hugging Face on the CPU, with the same weights on every process.
            trainer: its strategy decides whether the model is sharded.
            lora: adapters to add; None trains all weights.
            seed: of the adapters.

        Raises:
            UserError: when its rows cannot be batched exactly, or a setting does not fit it.
        """
        with on_cpu():
            self._begin(model)
            if lora is not None:
                adapt(model, lora, seed)
            freeze_unused(model)
        if self.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return self._finish(model, trainer, offload=False).train()

    def reference(self, model: Any, trainer: Trainer, offload: bool) -> Any:
        """A model that only scores; see :meth:`policy`.

        Args:
            model: opened as the policy was.
            trainer: the policy's.
            offload: see :func:`~fgexpo.parallel.sharding.shard`.
        """
        with on_cpu():
            self._begin(model)
        return self._finish(model, trainer, offload)

    def _begin(self, model: Any) -> None:
        choose_rows(model)  # tried on the CPU, where no kernels of a GPU run
        beat_by_layer(model)
        use_kernels(model, self.kernels)

    def _finish(self, model: Any, trainer: Trainer, offload: bool) -> Any:
        if self.compile_layers:
            compile_layers(model)
        if shards(trainer):
            shard(model, trainer, offload)
        return model
