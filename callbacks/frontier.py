"""Pictures of the curriculum's frontier, and of the pass-rates over time."""

from typing import Any

import numpy as np
from lightning.pytorch import Callback

from fgexpo.errors import UserError
from fgexpo.figures.frontier import frontier_figure, pass_rate_counts
from fgexpo.figures.pixels import to_pixels
from fgexpo.loggers import panel_writers

TAG = "curriculum/frontier"


class FrontierImages(Callback):
    """Draws pass-rates against weights, and a heat map of the pass-rates' drift, at intervals.

    Args:
        every_steps: rollout steps between images.

    Attributes:
        steps: rollout steps drawn so far.
        counts: questions per bin of pass-rates at each of these steps, for the heat map.
    """

    def __init__(self, every_steps: int = 20) -> None:
        if every_steps < 1:
            raise UserError(f"frontier.every_steps must be at least 1, got {every_steps}")
        self.every_steps = every_steps
        self.steps: list[int] = []
        self.counts: list[list[int]] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw every ``every_steps`` rollout steps."""
        step = getattr(pl_module, "rollout_step", 0)
        data = trainer.datamodule
        table, sampler = getattr(data, "table", None), getattr(data, "sampler", None)
        writers = panel_writers(trainer)
        if step % self.every_steps or not writers or table is None or sampler is None:
            return
        rates, seen = table.pass_rates.numpy(), (table.visits > 0).numpy()
        self.steps.append(step)
        self.counts.append(pass_rate_counts(rates[seen]).tolist())
        weights = sampler.weights.numpy()
        figure = frontier_figure(rates, seen, weights, self.steps, np.array(self.counts))
        pixels = to_pixels(figure)
        for writer in writers:
            writer.image(TAG, pixels, step)

    def state_dict(self) -> dict[str, Any]:
        """The heat map so far, so that a resumed run continues it."""
        return {"steps": list(self.steps), "counts": [list(row) for row in self.counts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.steps = list(state_dict["steps"])
        self.counts = [list(row) for row in state_dict["counts"]]
