"""Write the policy as a Hugging Face folder, with a card, when training ends, if it is good."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from fgexpo.errors import UserError
from fgexpo.files import run_folder, whole_folder
from fgexpo.hub.base import find_base
from fgexpo.hub.card import Origin, write_card
from fgexpo.hub.run_config import NAME, read_config
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
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Learn the run's folder, which has its configuration; say if a model will be replaced."""
        if stage != "fit":
            return
        self._folder = run_folder(trainer)
        if trainer.is_global_zero and Path(self.out).is_dir() and any(Path(self.out).iterdir()):
            print(f"export.out: {self.out!r} exists; the end of this run replaces it")

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
        # All processes take part in gathering sharded weights, and in looking at them.
        weights = {
            name: weight.cpu() if trainer.is_global_zero else weight.new_empty(0)
            for name, weight in full_weights(pl_module.policy)
        }
        saved: dict[str, Any] = {}
        pl_module.on_save_checkpoint(saved)
        if trainer.is_global_zero:
            self._write(pl_module, weights, saved["fgexpo"])

    def _write(self, pl_module: Any, weights: dict[str, Tensor], saved: dict[str, Any]) -> None:
        files = pl_module.archive.files(pl_module.policy, pl_module.prompts.tokenizer)
        there = Path(self.out).is_dir() and any(Path(self.out).iterdir())
        # A folder of this name never holds a half-written model.
        with whole_folder(self.out) as partial:
            write_model(files, weights, partial)
            # The weights are worth more than their card, which `fgexpo export` can make again.
            try:
                origin = self._origin(pl_module, saved)
                write_card(origin, partial)
                note = None if origin.base is None else origin.base.note
            except (UserError, OSError) as error:
                note = f"no model card is written: {error}"
        if note is not None:
            print(f"export: {note}")
        print(f"export: wrote {self.out}{', over the model that was there' if there else ''}")

    def _origin(self, pl_module: Any, saved: dict[str, Any]) -> Origin:
        """What the card says of the run."""
        path = self._folder / NAME
        config = read_config(path) if path.is_file() else {}
        scratch = getattr(pl_module, "from_scratch", None) is not None
        made = config.get("prepare") is not None
        name = Path(self.out).resolve().name
        return Origin(
            name=name,
            loaded_by=name,
            saved=saved,
            base=find_base(pl_module.name, from_scratch=scratch, made_here=made),
            config=config,
            encoder=pl_module.prompts,
        )
