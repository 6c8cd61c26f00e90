"""Seconds of scoring and updating: operations, the LM head's logits, collectives, the optimizer.

The share of the peak is what a model of 1.5 B reached on an H200 (docs/gpu.md), with the bytes that
the LM head moved there counted by themselves, since they depend on how its logits are read.
"""

from dataclasses import dataclass

from ..rollout.vllm.cache_size import head_width
from .gpus import Gpu
from .job import Job
from .shape import Shape, elements
from .state import State

# Assumptions, printed with every plan.
USE_PASSES = 0.275  # share of the peak FLOP/s in scoring and updating
USE_BANDWIDTH = 0.60  # share of the memory bandwidth in decoding and in an optimizer's step
USE_STREAM = 0.80  # the same where a matrix is read or written from end to end
USE_LINK = 0.60  # share of the interconnect's bandwidth in collectives
FP32_SLOWER = 15  # times: fp32 matrix products against bf16
# Bytes moved for each logit, by a forward and a backward pass, counted from the code: bf16 logits
# that are read once, and fp32 slices with a pass for each of their operations.
ONE_PASS, SLICES = (4, 10), (48, 50)


@dataclass(frozen=True)
class Passes:
    """Seconds of a step's passes over its rollouts."""

    score: float
    update: float


def pass_seconds(
    job: Job,
    shape: Shape,
    state: State,
    gpu: Gpu,
    prompt: float,
    completion: float,
    logits: tuple[int, int] = ONE_PASS,
) -> Passes:
    """Seconds of scoring and of all updates of a step.

    Args:
        job: the settings.
        shape: of its model.
        state: bytes that its process holds.
        gpu: that it runs on.
        prompt: mean tokens of a prompt.
        completion: mean tokens of a completion.
        logits: bytes moved for each logit, forward and backward.
    """
    half, length = job.compute.itemsize < 4, prompt + completion
    speed = USE_PASSES * (gpu.flops if half else gpu.flops / FP32_SLOWER)
    body = job.own_rollouts * body_flops(job, shape, length) / speed
    head = elements((shape.head,)) * job.own_rollouts * completion
    product = 2 * head / speed
    # In fp32 the products take so much longer that what is read between them does not count.
    wide = head / shape.head[1] / (gpu.bandwidth * USE_STREAM) if half else 0.0
    forward, backward = (wide * moved for moved in logits)
    score = scorings(job) * (body + product + forward)
    # A backward pass costs two forward passes, one less if the weights are frozen; the head
    # computes its logits twice.
    frozen = job.adapters is not None
    update = (3 - frozen + job.checkpointing) * body + (4 - frozen) * product + forward + backward
    update *= job.inner_epochs
    scoring, updating = communication(job, shape, state, gpu, length)
    if job.strategy == "fsdp2":  # overlaps with the computation if that takes long enough
        score, update = max(score, scoring), max(update, updating)
    else:
        update += updating
    return Passes(score, update + optimizer_seconds(job, state, gpu))


def scorings(job: Job) -> float:
    """Passes over all rollouts before the updates: the reference's, and the policy's own.

    The first update needs none, as its own forward pass is the old policy's, unless the KL is
    part of the reward, which is judged before.
    """
    return job.reference + 1 - (0 if job.kl_in_reward else job.mini_batch / job.questions)


def body_flops(job: Job, shape: Shape, length: float) -> float:
    """Operations of one sequence's forward pass through the decoder layers, causal attention."""
    width = job.config.num_attention_heads * head_width(job.config)
    attention = 2 * job.config.num_hidden_layers * width * length**2
    return 2 * shape.matrices * length + attention


def communication(
    job: Job, shape: Shape, state: State, gpu: Gpu, length: float
) -> tuple[float, float]:
    """Seconds of scoring's and updating's collectives in a step.

    DDP sums the gradients once per update. FSDP2 gathers the weights for every pass, and
    reduce-scatters the fp32 gradients after every micro-batch.
    """
    if job.processes == 1:
        return 0.0, 0.0
    link = gpu.link * USE_LINK
    share = (job.processes - 1) / job.processes
    updates = job.inner_epochs * job.questions // job.mini_batch
    if job.strategy == "ddp":
        return 0.0, updates * 2 * share * state.gradients / link
    micro = max(1.0, job.own_rollouts * length / job.micro_tokens)
    gather = share * shape.count * job.compute.itemsize / link
    spread = share * job.processes * state.gradients / link
    return scorings(job) * micro * gather, job.inner_epochs * micro * (2 * gather + spread)


def optimizer_seconds(job: Job, state: State, gpu: Gpu) -> float:
    """Seconds of the optimizer's reading and writing in a step."""
    updates = job.inner_epochs * job.questions // job.mini_batch
    moved = 3 * state.gradients + 2 * state.optimizer
    return updates * moved / (gpu.bandwidth * USE_BANDWIDTH)
