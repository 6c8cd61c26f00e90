"""The flags of Lightning's trainer that would spoil a run, as one table.

A flag is here if one of its values would train nothing, train on other questions than the
curriculum's, give a score another meaning under the same tag, or do again what a setting of this
project does. All other flags are Lightning's own business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.strategies import DDPStrategy

from ..errors import UserError
from ..parallel.fsdp2 import FSDP2

# With the short forms that the command line takes.
PRECISIONS = ("32-true", "64-true", "bf16-mixed")
_SHORT = ("32", "64", "bf16", 32, 64)


@dataclass(frozen=True)
class Flag:
    """What is wrong with some values of a flag.

    Attributes:
        fine: whether a value does no harm.
        why: what the others would do, and what to set instead; it goes on after the value.
    """

    fine: Callable[[Any], bool]
    why: str


def _off(value: Any) -> bool:
    return not value


def _at_least_one(value: Any) -> bool:
    return value >= 1


def _whole(value: Any) -> bool:
    # 1 is one batch, 1.0 is all of them.
    return isinstance(value, float) and value == 1.0


def _positive_number(value: Any) -> bool:
    return not isinstance(value, str | dict | timedelta) and value > 0


_SOME_QUESTIONS = (
    "would score some of each set's questions under the whole set's name; ask fewer with a smaller "
    "set"
)
_BY_QUESTIONS = (
    "would cut or replace the curriculum's draws; set --steps for a short run and a smaller "
    "data.train for fewer questions"
)

# By subcommand; None for all of them.
FLAGS: Mapping[str | None, Mapping[str, Flag]] = {
    None: {
        "fast_dev_run": Flag(
            _off,
            "would replace the run's length, its logger and its checkpoints by Lightning's own; "
            "set --steps=1 for a short run",
        ),
        "barebones": Flag(_off, "would log nothing, neither rewards nor scores; leave it out"),
    },
    "validate": {"limit_val_batches": Flag(_whole, _SOME_QUESTIONS)},
    "predict": {
        "limit_predict_batches": Flag(lambda value: value > 0, "would ask nothing; leave it out")
    },
    "test": {"limit_test_batches": Flag(_whole, _SOME_QUESTIONS)},
    "fit": {
        "precision": Flag(
            lambda value: value in PRECISIONS or value in _SHORT,
            f"is not supported, expected one of {', '.join(PRECISIONS)}: float16 overflows, and "
            "updates of bf16 weights are lost in rounding",
        ),
        "overfit_batches": Flag(_off, _BY_QUESTIONS),
        "limit_train_batches": Flag(_whole, _BY_QUESTIONS),
        "limit_val_batches": Flag(
            lambda value: value == 0 or _whole(value),
            f"{_SOME_QUESTIONS}, or set it to 0 for no validation",
        ),
        "val_check_interval": Flag(
            _positive_number,
            "is not above 0, or a time, after which no two runs would validate at the same steps; "
            "give it in rollout steps, with trainer.check_val_every_n_epoch=null",
        ),
        "check_val_every_n_epoch": Flag(
            _at_least_one,
            "must be at least 1, or null to count trainer.val_check_interval over all epochs; "
            "trainer.limit_val_batches=0 turns validation off",
        ),
        "accumulate_grad_batches": Flag(
            lambda value: value == 1,
            "would add up the gradients of several batches; the questions of an optimizer step are "
            "data.questions_per_step and model.mini_batch_questions, and model.micro_batch_tokens "
            "saves memory",
        ),
        "reload_dataloaders_every_n_epochs": Flag(
            _off, "would begin the questions' order anew; leave it out, every step draws afresh"
        ),
        "max_epochs": Flag(lambda value: value != 0, "would train nothing; leave it at -1"),
    },
}
# For training by rollouts, which counts, clips and shares out by settings of its own.
ROLLOUT_FLAGS: Mapping[str, Flag] = {
    "max_steps": Flag(
        lambda value: value == -1,
        "would count optimizer steps; leave it at -1 and give the run's length in rollout steps, "
        "--steps",
    ),
    # First, since Lightning makes the other one from it.
    "min_steps": Flag(_off, "would keep a run from stopping when it is asked to; leave it out"),
    "min_epochs": Flag(_off, "would keep a run from stopping when it is asked to; leave it out"),
    "gradient_clip_val": Flag(
        lambda value: value == 0, "is not read here; set model.max_grad_norm instead"
    ),
    "gradient_clip_algorithm": Flag(
        _off, "is not read here; model.max_grad_norm limits the gradient's norm"
    ),
    "use_distributed_sampler": Flag(
        _off,
        "is Lightning's default; trainer.use_distributed_sampler must be false: it would replace "
        "the curriculum's sampler by one that draws for each process on its own",
    ),
}
# Callbacks of Lightning's that need its automatic optimization, or a copy or a field of the module.
UNSUPPORTED = (
    callbacks.GradientAccumulationScheduler,
    callbacks.StochasticWeightAveraging,
    callbacks.WeightAveraging,
    callbacks.LearningRateFinder,
    callbacks.BatchSizeFinder,
    callbacks.ModelPruning,
    callbacks.BaseFinetuning,
)


def check_flags(flags: Mapping[str, Flag], read: Callable[[str], Any]) -> None:
    """Check the values of flags.

    Args:
        flags: by name.
        read: the value of a flag; None stands for Lightning's default.

    Raises:
        UserError: naming the first flag that would do harm, its value, and what to set instead.
    """
    for name, flag in flags.items():
        value = read(name)
        if value is not None and not flag.fine(value):
            raise UserError(f"trainer.{name} = {value} {flag.why}")


def check_trainer(trainer: Trainer, stage: str) -> None:
    """Check a trainer's flags for ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        UserError: see :func:`check_flags`.
    """
    for flags in (FLAGS[None], FLAGS.get(stage, {})):
        check_flags(flags, lambda name: _value(trainer, name))


def check_rollout_trainer(trainer: Trainer) -> None:
    """Check that a trainer counts, clips and synchronises as training by rollouts needs it to.

    Raises:
        UserError: see :func:`check_flags`; also for a callback or strategy that is not supported.
    """
    check_flags(ROLLOUT_FLAGS, lambda name: _value(trainer, name))
    given: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    for callback in given:
        if isinstance(callback, UNSUPPORTED):
            raise UserError(
                f"trainer.callbacks: {type(callback).__name__} does not work with training by "
                "rollouts, which makes several updates a batch by itself; leave it out"
            )
    if trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy | FSDP2):
        raise UserError(
            f"trainer.strategy {type(trainer.strategy).__name__} is not supported on "
            f"{trainer.world_size} processes; use --trainer.strategy=ddp or fsdp2"
        )


def on_gpu(trainer: Trainer) -> bool:
    """Whether models are going to be on CUDA devices."""
    return isinstance(trainer.accelerator, CUDAAccelerator)


def _value(trainer: Trainer, name: str) -> Any:
    # Lightning has no public name for these two.
    if name == "use_distributed_sampler":
        return trainer._accelerator_connector.use_distributed_sampler
    seconds = getattr(trainer, "_val_check_time_interval", None)
    if name == "val_check_interval" and seconds is not None:
        return timedelta(seconds=seconds)
    return getattr(trainer, name)
