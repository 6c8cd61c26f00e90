"""Write the policy as a Hugging Face folder when training ends, if it is good enough."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from fgexpo.errors import UserError
from fgexpo.files import whole_folder
from fgexpo.model.hf_folder import write_model
from fgexpo.parallel.whole_weights import full_weights


class ExportPolicy(Callback):
    """Exports at the end of the last validation, behind a gate on one of its scores.

    Args:
        out: folder to write.
        metric: a logged validation score, such as ``val/tiny/pass@1``; null for no gate.
        low: lowest score that passes.
        high: highest score that passes.
    """

    def __init__(
        self, out: str, metric: str | None = None, low: float = 0.0, high: float = 1.0
    ) -> None:
        self.out = out
        self.metric = metric
        self.low = low
        self.high = high

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Check the gate, then write.

        Raises:
            UserError: when the score is missing or outside the gate.
        """
        if self.metric is not None:
            if self.metric not in trainer.callback_metrics:
                raise UserError(f"export.metric: {self.metric!r} was never logged")
            score = float(trainer.callback_metrics[self.metric])
            if not self.low <= score <= self.high:
                raise UserError(
                    f"{self.metric} = {score:.3f} is outside [{self.low}, {self.high}], so nothing "
                    f"was written to {self.out!r}; train longer or shorter, or with another seed"
                )
        # All processes take part in gathering sharded weights.
        weights = {
            name: weight.cpu() if trainer.is_global_zero else weight.new_empty(0)
            for name, weight in full_weights(pl_module.policy)
        }
        if trainer.is_global_zero:
            self._write(pl_module, weights)

    def _write(self, pl_module: Any, weights: dict[str, Tensor]) -> None:
        files = pl_module.archive.files(pl_module.policy, pl_module.prompts.tokenizer)
        # A folder of this name never holds a half-written model.
        with whole_folder(self.out) as partial:
            write_model(files, weights, partial)
