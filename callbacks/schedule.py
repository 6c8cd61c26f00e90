"""Settings that change while a run trains: with the rollout step, or with accuracy.

Lightning generates a step's rollouts before any callback sees its batch. What a schedule by step
sets, it therefore sets when the step before has ended, or the run starts: everything that the step
does, from the sampling on, uses one value.
"""

from typing import Any

from lightning.pytorch import Callback, Trainer

from fgexpo.errors import UserError
from fgexpo.schedules import Curve, LinearCurve, Setting, check_schedule, get, put
from fgexpo.schedules.settings import check_value
from fgexpo.update.batch import TrainingBatch

# What generation reads already.
TEMPERATURE: Setting = "sampling.temperature"


class Schedule(Callback):
    """Sets a setting of the model to a curve's value at each rollout step; the first is step 0.

    The configured value holds again when training ends. As the value is a function of the step
    alone, a resumed run goes on with it. A controller of the KL (``akl``) scales a scheduled
    ``kl_coef`` as it scales a constant one.

    Args:
        setting: ``kl_coef``, ``loss.clip_low``, ``loss.clip_high``, ``loss.low``, ``loss.high``,
            ``loss.entropy_coef`` or ``sampling.temperature``.
        curve: its values, by rollout step.

    Attributes:
        configured: the model's own value.

    Raises:
        UserError: for an unknown setting, or a curve that leaves the setting's range.
    """

    def __init__(self, setting: Setting, curve: Curve) -> None:
        check_schedule(setting, curve)
        self.setting = setting
        self.curve = curve
        self.configured: float | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check, before any weight is loaded, that this model's setting can be scheduled.

        Raises:
            UserError: for a setting that the model does not have or another callback sets too, or a
                ``kl_coef`` of 0, without which no reference is loaded.
        """
        if stage != "fit":
            return
        own: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        names = [type(callback).__name__ for callback in of_setting(own, self.setting)]
        if len(names) > 1:
            raise UserError(
                f"trainer.callbacks: {' and '.join(names)} both set {self.setting}; keep one"
            )
        self.configured = get(pl_module, self.setting)
        if self.setting == "kl_coef" and self.configured == 0:
            raise UserError(
                "trainer.callbacks: a schedule of kl_coef needs model.kl_coef above 0, since at 0 "
                "no reference is loaded"
            )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Set the first step's value, also of a run that is resumed."""
        self.prepare_step(pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        """Log the value in force."""
        pl_module.log(f"schedule/{self.setting}", get(pl_module, self.setting))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the next step's value."""
        self.prepare_step(pl_module)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Set the configured value again."""
        if self.configured is not None:
            put(pl_module, self.setting, self.configured)
            self.configured = None

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Set the configured value again."""
        self.teardown(trainer, pl_module, "fit")

    def prepare_step(self, pl_module: Any) -> None:
        """Set the value of the step that begins, before its rollouts are sampled."""
        self.move_to(pl_module, pl_module.rollout_step)

    def move_to(self, pl_module: Any, x: float) -> None:
        """Set the curve's value at x.

        Raises:
            UserError: for a curve that has left the bounds which it gave.
        """
        value = self.curve(x)
        check_value(self.setting, value, self.curve)
        put(pl_module, self.setting, value)


class AccuracySchedule(Schedule):
    """Sets a setting to a curve's value at the step's accuracy, over all processes.

    The accuracy is that of all rollouts of the step whose updates use the value, so it does not
    lag. Only ``sampling.temperature`` is needed before: it follows the accuracy of the step before,
    which is in the checkpoint, and begins with the configured value.

    Args:
        setting: one of :class:`Schedule`'s, but for ``kl_coef``, which ``akl`` sets by accuracy.
        curve: its values, by accuracy in [0, 1].

    Raises:
        UserError: as :class:`Schedule`, and for ``kl_coef``.
    """

    def __init__(self, setting: Setting, curve: Curve) -> None:
        super().__init__(setting, curve)
        if setting == "kl_coef":
            raise UserError("AccuracySchedule.setting: kl_coef by accuracy is akl; use that")
        self._accuracy: float | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: TrainingBatch, batch_idx: int
    ) -> None:
        """Set this step's value by its own accuracy, where that is in time, and log it."""
        # Noted before any checkpoint of this step is written, whatever the callbacks' order.
        self._accuracy = batch.asked.accuracy
        if self.setting != TEMPERATURE:
            self.move_to(pl_module, self._accuracy)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def prepare_step(self, pl_module: Any) -> None:
        """Set the next step's temperature by the accuracy of the last."""
        if self.setting == TEMPERATURE and self._accuracy is not None:
            self.move_to(pl_module, self._accuracy)

    # Not state_dict, of which Lightning allows one a class.

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the last accuracy."""
        checkpoint[self._key()] = self._accuracy

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Restore it."""
        self._accuracy = checkpoint.get(self._key())

    def _key(self) -> str:
        return f"fgexpo.schedule/{self.setting}"


class AccuracyConditionedClip(AccuracySchedule):
    """The upper clip bound by the step's accuracy: on a straight line between two values.

    A failing batch may be given more room to raise unlikely tokens than one that succeeds.

    Args:
        failing: ``loss.clip_high`` at accuracy 0, above 0.
        succeeding: ``loss.clip_high`` at accuracy 1, above 0.

    Raises:
        UserError: for a bound that is not above 0.
    """

    def __init__(self, failing: float = 0.4, succeeding: float = 0.2) -> None:
        super().__init__("loss.clip_high", LinearCurve(failing, succeeding, until=1.0))
        self.failing = failing
        self.succeeding = succeeding


def of_setting(callbacks: list[Any], setting: str) -> list[Schedule]:
    """The schedules of a setting among a trainer's callbacks."""
    return [each for each in callbacks if isinstance(each, Schedule) and each.setting == setting]


def configured(trainer: Any, pl_module: Any, setting: str) -> float:
    """A setting as the run was configured, whether a schedule has changed it or not."""
    for schedule in of_setting(trainer.callbacks, setting):
        if schedule.configured is not None:
            return schedule.configured
    return get(pl_module, setting)
