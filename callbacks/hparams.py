"""A run's settings beside its scores, in every logger; TensorBoard has a tab for them."""

import inspect
from collections.abc import Iterable
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch.utils.tensorboard.summary import hparams

from fgexpo.curriculum.base import Curriculum
from fgexpo.loggers import PanelWriter, panel_writers

from .akl import KLController
from .schedule import configured
from .stop import StopAfter, StopAtBudget
from .tensorboard import WrittenOnce, tensorboard_loggers

NONE = "none"
OPEN_ENDED = -1
SHOWN = ("akl", "rho", "curriculum", "kl_coef", "seed")


class HParams(WrittenOnce):
    """Writes what an ablation varies, and which scores to show beside it.

    The scores are the last values of tags that are logged anyway. In TensorBoard, an end mark is
    written last, and a run without it was cut off; other loggers have a status of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Also remember the step at which this process starts."""
        super().on_train_start(trainer, pl_module)
        self._first_step = pl_module.rollout_step

    def places(self, trainer: Trainer) -> list[tuple[str, PanelWriter]]:
        """All loggers that show settings."""
        return [(writer.place, writer) for writer in panel_writers(trainer)]

    def write(self, writer: PanelWriter, trainer: Any, pl_module: Any) -> None:
        """Write the settings, and the names of the scores."""
        names = getattr(trainer.datamodule, "val", {})
        scores = [f"val/{name}/pass@{k}" for name in names for k in pl_module.evaluation.ks]
        writer.settings(run_settings(trainer, pl_module), scores, SHOWN)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Mark the run as finished, unless it was finished before and made no step now."""
        if not hasattr(pl_module, "kl_coef") or pl_module.rollout_step == self._first_step:
            return
        for logger in tensorboard_loggers(trainer):
            logger.experiment.file_writer.add_summary(hparams({}, {})[2])


def run_settings(trainer: Any, pl_module: Any) -> dict[str, str | float | None]:
    """What an ablation varies, read from the run's objects.

    Every run has the same keys, since TensorBoard takes its columns from the first run it finds.
    Settings that only some classes have follow the class's name, and only if they are not the
    defaults: the columns are narrow.
    """
    akl = _first(trainer.callbacks, KLController)
    stop, budget = (_first(trainer.callbacks, kind) for kind in (StopAfter, StopAtBudget))
    data = trainer.datamodule
    group = trainer.optimizers[0].param_groups[0]
    return {
        "akl": describe(akl),
        "rho": describe(getattr(getattr(akl, "rule", akl), "rho", None)),
        "kl_coef": configured(trainer, pl_module, "kl_coef"),
        "curriculum": describe(getattr(data, "curriculum", None)),
        "decay": getattr(data, "decay", None),
        "refresh": getattr(data, "refresh", None),
        "lr": group.get("initial_lr", group["lr"]),
        "seed": pl_module.seed,
        "refill": describe(pl_module.refill),
        "advantages": describe(pl_module.advantages),
        "loss": describe(pl_module.loss),
        "allocation": describe(pl_module.allocation),
        "reference_update": describe(pl_module.reference_update),
        "debias": str(getattr(data, "debias", False)),
        "steps": OPEN_ENDED if stop is None else stop.steps,
        "budget": OPEN_ENDED if budget is None else budget.rollouts,
    }


def describe(thing: Any) -> str:
    """A class with the settings that are not its defaults, such as ``Gaussian(std=0.2)``."""
    if thing is None:
        return NONE
    parameters = inspect.signature(type(thing)).parameters
    values = {name: getattr(thing, name, None) for name in parameters}
    shown = [
        f"{name}={_word(value)}"
        for name, value in values.items()
        if isinstance(value, int | float | str | Curriculum | KLController)
        and value != parameters[name].default
    ]
    name = type(thing).__name__
    return f"{name}({', '.join(shown)})" if shown else name


def _word(value: Any) -> str:
    if isinstance(value, Curriculum | KLController):
        return describe(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _first(callbacks: Iterable[Callback], kind: type) -> Any:
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)
