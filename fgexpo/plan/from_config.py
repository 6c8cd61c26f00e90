"""Turns a parsed ``fit`` command line into a job; nothing is instantiated."""

from typing import Any

import torch

from ..checks.settings import check_mini_batches
from ..errors import UserError
from ..losses import InReward
from ..robustness.places import setting
from .adapters import Adapters
from .job import Call, Engine, Job, Optimizer, Strategy

# Lightning's name: the dtype, and whether it is autocast over the weights.
PRECISIONS = {"32-true": False, "32": False, "bf16-mixed": True, "bf16": True}


def read_job(config: Any, shape: Any, gpus: int | None) -> Job:
    """The job of a parsed ``fit`` configuration.

    Args:
        config: the parsed command line.
        shape: the model's transformers configuration.
        gpus: processes; null for ``trainer.devices``.

    Raises:
        UserError: for settings that this plan does not cover or that contradict each other.
    """
    model, data, trainer = config.model.init_args, config.data.init_args, config.trainer
    dtype = _dtype("model.dtype", model.dtype)
    nodes = int(trainer.get("num_nodes") or 1)
    cpu = trainer.get("accelerator") == "cpu"
    processes = _processes(trainer, nodes, gpus, cpu)
    strategy, bucket_view = _strategy(trainer.get("strategy"), processes)
    job = Job(
        config=shape.get_text_config(),  # what else a model of images has is not trained
        processes=processes,
        nodes=nodes,
        cpu=cpu,
        strategy=strategy,
        dtype=dtype,
        autocast=_autocast(trainer.get("precision")),
        bucket_view=bucket_view,
        optimizer=_optimizer(model.get("optimizer")),
        engine=_engine(model.engine),
        adapters=_adapters(model.get("lora")),
        checkpointing=bool(model.get("activation_checkpointing")),
        reference=model.kl_coef > 0,
        kl_in_reward=_kl_in_reward(model.get("loss")),
        moves=bool(model.get("reference_update")),
        offload=bool(model.get("reference_offload")),
        sharded=bool(setting(config.get("checkpoint"), "sharded")),
        questions=data.questions_per_step,
        group=model.group_size,
        mini_batch=model.mini_batch_questions or data.questions_per_step,
        inner_epochs=model.inner_epochs,
        micro_batch_tokens=model.micro_batch_tokens,
        max_prompt=model.max_prompt_tokens,
        max_new=model.sampling.max_new_tokens,
        filtered=_filtered(model.sampling),
        waves=_waves(model.get("refill")),
        evaluation=_evaluation(data, model.evaluation),
        steps=config.get("steps"),
    )
    _check_job(job)
    return job


def check_classes(config: Any) -> None:
    """Check that this is a GRPO run.

    Raises:
        UserError: naming the slot.
    """
    for key, wanted in (("model", "GRPOModule"), ("data", "CurriculumDataModule")):
        given = config[key].class_path
        if given.rpartition(".")[2] != wanted:
            raise UserError(f"{key}: plan expects a {wanted}, got {given}")


def _check_job(job: Job) -> None:
    check_mini_batches(job.questions, job.mini_batch, job.processes)
    heads = job.config.num_attention_heads
    if job.processes % job.parallel or heads % job.parallel:
        raise UserError(
            f"model.engine.tensor_parallel = {job.parallel} must divide the {job.processes} "
            f"processes and the model's {heads} attention heads"
        )
    if job.offload and job.adapters is not None:
        raise UserError(
            "model.reference_offload has nothing to move: with model.lora the reference is the "
            "policy without its adapters"
        )
    if job.adapters is not None and job.dtype != torch.float32:
        raise UserError(f"model.lora needs model.dtype = float32, got {job.dtype}")
    if job.processes % job.nodes:
        raise UserError(
            f"--gpus = {job.processes} is not divisible by trainer.num_nodes = {job.nodes}"
        )


def _autocast(given: Any) -> bool:
    name = str(given or "32-true")
    if name not in PRECISIONS:
        raise UserError(f"trainer.precision: plan knows {', '.join(PRECISIONS)}, got {name!r}")
    return PRECISIONS[name]


def _dtype(setting: str, name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UserError(f"{setting} must name a floating torch dtype, got {name!r}")
    return found


def _processes(trainer: Any, nodes: int, gpus: int | None, cpu: bool) -> int:
    devices = trainer.get("devices")
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    given = len(devices) if isinstance(devices, list) else devices
    counted = given if isinstance(given, int) and given > 0 else None
    if cpu:
        return (counted or 1) * nodes
    if gpus is not None:
        return gpus
    return (counted or 8) * nodes


def _strategy(given: Any, processes: int) -> tuple[Strategy, bool]:
    """The kind of strategy, and whether DDP's buckets are the gradients themselves."""
    own = given if isinstance(given, str) else (given or {}).get("class_path", "auto")
    settings = {} if isinstance(given, str) or not given else given.get("init_args") or {}
    name = own.rpartition(".")[2].lower()
    if name == "fsdp2":
        return "fsdp2", False
    if name != "auto" and "ddp" not in name:
        raise UserError(f"trainer.strategy: plan knows auto, ddp and fsdp2, got {own!r}")
    view = bool(settings.get("gradient_as_bucket_view"))
    return ("one process" if name == "auto" and processes == 1 else "ddp"), view


def _optimizer(given: Any) -> Optimizer:
    if given is None or not hasattr(given, "class_path"):
        return Optimizer()
    arguments = given.get("init_args")
    return Optimizer(given.class_path, {} if arguments is None else arguments.as_dict())


def _adapters(lora: Any) -> Adapters | None:
    if lora is None:
        return None
    targets = lora.targets
    return Adapters(lora.rank, targets if isinstance(targets, str) else tuple(targets))


def _engine(given: Any) -> Engine:
    settings, kind = given.get("init_args") or {}, given.class_path.rpartition(".")[2]
    if kind == "Native":
        return Engine(rows=settings["max_rows"], graphs=settings["graphs"])
    if kind == "VLLMServer":
        return Engine("VLLMServer")
    if kind != "VLLM":
        raise UserError(f"model.engine: plan knows Native, VLLM and VLLMServer, got {kind}")
    dtype = settings["dtype"]
    return Engine(
        "VLLM",
        memory=settings["memory"],
        tensor_parallel=settings["tensor_parallel"],
        dtype=None if dtype is None else _dtype("model.engine.dtype", dtype),
        sleep=settings["sleep"],
        rows=settings["max_sequences"],
    )


def _kl_in_reward(loss: Any) -> bool:
    """Whether the loss's KL penalty is the one that is part of the reward."""
    penalty = None if loss is None else loss.get("init_args", {}).get("kl")
    return penalty is not None and penalty.class_path.endswith(f".{InReward.__name__}")


def _waves(refill: Any) -> int:
    return 1 if refill is None else refill.init_args.max_waves


def _evaluation(data: Any, evaluation: Any) -> Call | None:
    if not data.val:
        return None
    sampling, questions = evaluation.sampling, data.questions_per_eval_batch
    return Call(questions, evaluation.rollouts, sampling.max_new_tokens, _filtered(sampling))


def _filtered(sampling: Any) -> bool:
    return sampling.top_p < 1 or sampling.top_k > 0
