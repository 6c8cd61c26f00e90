"""What a run is, in five lines, before its first step."""

from typing import Any

from lightning.pytorch import Trainer

from fgexpo.files import run_folder


def header(trainer: Trainer, pl_module: Any, length: int | None) -> list[str]:
    """The model, where its questions come from, a step's batch, the run's length and folder.

    Args:
        trainer: of the run.
        pl_module: with its policy.
        length: steps of the run; None if it has no end.
    """
    begin = f", from step {pl_module.rollout_step}" if pl_module.rollout_step else ""
    rows = {
        "model": _model(pl_module),
        "questions": _questions(getattr(trainer, "datamodule", None)),
        "batch": _batch(trainer, pl_module),
        "steps": f"{'no end (set steps or budget)' if length is None else f'{length:,}'}{begin}",
        "folder": str(run_folder(trainer)) if trainer.loggers else "none: nothing is logged",
    }
    return [f"{name:11}{text}" for name, text in rows.items() if text]


def _model(pl_module: Any) -> str:
    weights = list(pl_module.policy.parameters())
    count = sum(weight.numel() for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    some = "" if trained == count else f", {_short(trained)} trained"
    return f"{pl_module.name}: {_short(count)} parameters{some}, {pl_module.dtype_name}"


def _questions(data: Any) -> str:
    pool, curriculum = getattr(data, "pool", None), getattr(data, "curriculum", None)
    if pool is None:
        return ""
    of_name = "" if curriculum is None else f", drawn by {type(curriculum).__name__}"
    return f"{len(pool):,}{of_name}"


def _batch(trainer: Trainer, pl_module: Any) -> str:
    questions = getattr(getattr(trainer, "datamodule", None), "questions_per_step", None)
    group_size = getattr(pl_module, "group_size", None)
    if questions is None or group_size is None:
        return ""
    update = pl_module.mini_batch_questions or questions
    count = questions // update * pl_module.inner_epochs
    updates = "1 update" if count == 1 else f"{count} updates"
    processes = "" if trainer.world_size == 1 else f", on {trainer.world_size} processes"
    return f"{questions} questions x {group_size} rollouts, {updates} per step{processes}"


def _short(count: int) -> str:
    for size, unit in ((10**9, "billion"), (10**6, "million")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"
