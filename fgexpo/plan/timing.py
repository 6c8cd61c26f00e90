"""Seconds of a step by phase: an estimate, good for orders of magnitude and for comparisons.

Compute-bound phases take their floating-point operations over the usual share of a GPU's peak;
decoding takes the bytes that every token's step reads over a share of the bandwidth.
"""

from dataclasses import dataclass

from ..errors import UserError
from ..rollout.vllm.cache_size import head_width
from .generation import GIB, EngineBytes, engine_dtype
from .job import Job
from .shape import Shape, elements, shape_of
from .state import State

# Assumptions, printed with every plan.
USE_PREFILL, USE_SCORE, USE_UPDATE = 0.40, 0.35, 0.30  # share of the peak FLOP/s
USE_BANDWIDTH = 0.60  # share of the memory bandwidth in decoding
USE_LINK = 0.60  # share of the interconnect's bandwidth in collectives
DECODE_OVERHEAD = 0.005  # seconds per decoded token: scheduler, sampler, kernel launches
FP32_SLOWER = 15  # times: fp32 matrix products against bf16
PROMPT_SHARE = 0.15  # of max_prompt_tokens: the mean prompt
COMPLETION_SHARE = 0.60  # of max_new_tokens: the mean completion, without --mean-length
OTHER = 10.0  # seconds per step: grading, waking and sleeping of vLLM, transfer of weights


@dataclass(frozen=True)
class Gpu:
    """Data-sheet values: dense bf16 FLOP/s, bytes/s of memory and link, GiB of memory."""

    flops: float
    bandwidth: float
    link: float
    memory: float


GPUS = {
    "a100": Gpu(312e12, 2.04e12, 300e9, 80),
    "h100": Gpu(989e12, 3.35e12, 450e9, 80),
    "h200": Gpu(989e12, 4.8e12, 450e9, 140),
    "h20": Gpu(148e12, 4.0e12, 450e9, 96),
    "b200": Gpu(2250e12, 8.0e12, 900e9, 178),
    "l40s": Gpu(362e12, 0.864e12, 32e9, 45),
    "rtx4090": Gpu(165e12, 1.008e12, 32e9, 24),
}


@dataclass(frozen=True)
class Timing:
    """Seconds of a step by phase, and the lengths they hold for.

    Attributes:
        seconds: by phase.
        prompt: mean tokens of a prompt.
        completion: mean tokens of a completion.
        at_once: sequences that an engine decodes at once; 0 for a server, whose time is not
            estimated.
    """

    seconds: dict[str, float]
    prompt: float
    completion: float
    at_once: int

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())


def gpu_named(name: str) -> Gpu:
    """The data sheet of a GPU.

    Raises:
        UserError: for an unknown name.
    """
    if name.lower() not in GPUS:
        raise UserError(f"--gpu must be one of {', '.join(GPUS)}, got {name!r}")
    return GPUS[name.lower()]


def plan_timing(
    job: Job, state: State, engine: EngineBytes, gpu: Gpu, mean_length: float | None
) -> Timing:
    """Estimate a step of ``job`` whose completions have ``mean_length`` tokens on average."""
    shape = shape_of(job.config)
    prompt = PROMPT_SHARE * job.max_prompt if job.mean_prompt is None else job.mean_prompt
    completion = COMPLETION_SHARE * job.max_new if mean_length is None else mean_length
    speed = gpu.flops if job.compute.itemsize < 4 else gpu.flops / FP32_SLOWER
    generate, at_once = generation(job, shape, engine, gpu, prompt, completion)
    body = job.own_rollouts * body_flops(job, shape, prompt + completion)
    head = job.own_rollouts * completion * 2 * elements((shape.head,))
    score = scorings(job) * (body + head) / (speed * USE_SCORE)
    # A backward pass costs two forward passes, one less if the weights are frozen; the head
    # computes its logits twice.
    frozen = job.adapters is not None
    passes = 3 - frozen + job.checkpointing
    work = job.inner_epochs * (passes * body + (4 - frozen) * head)
    update = work / (speed * USE_UPDATE)
    scoring, updating = communication(job, shape, state, gpu, prompt + completion)
    if job.strategy == "fsdp2":  # overlaps with the computation if that takes long enough
        score, update = max(score, scoring), max(update, updating)
    else:
        update += updating
    update += optimizer_seconds(job, state, gpu)
    seconds = {"generate": generate, "score": score, "update": update, "other": OTHER}
    return Timing(seconds, prompt, completion, at_once)


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


def generation(
    job: Job, shape: Shape, engine: EngineBytes, gpu: Gpu, prompt: float, completion: float
) -> tuple[float, int]:
    """Seconds of a step's rollouts, and how many sequences an engine decodes at once.

    vLLM replaces finished sequences by waiting ones, so its longest sequences decode alone only
    once, at the end; in the policy's own decoding, every wave ends so. A question's prompt is read
    once for its G rollouts.
    """
    if job.engine.kind == "VLLMServer":
        return 0.0, 0
    sequences = job.own_rollouts * job.parallel
    held = int(engine.tokens / (prompt + completion / 2))
    at_once = max(1, min(engine.at_once, held))
    dtype = engine_dtype(job)
    speed = gpu.flops if dtype.itemsize < 4 else gpu.flops / FP32_SLOWER
    # Autocast reads the policy's weights in full precision for every token.
    width = dtype.itemsize if job.vllm else job.dtype.itemsize
    matrices = (shape.matrices + elements((shape.head,))) / job.parallel
    cache = (prompt + completion / 2) * engine.token_bytes

    def token(rows: int) -> float:
        read = (matrices * width + rows * cache) / (gpu.bandwidth * USE_BANDWIDTH)
        return max(read, rows * 2 * matrices / (speed * USE_PREFILL)) + DECODE_OVERHEAD

    ends = 1 if job.vllm else sequences / at_once
    decoding = sequences * completion / at_once * token(at_once)
    decoding += ends * (job.max_new - min(completion, job.max_new)) * token(1)
    asked = sequences / job.group * body_flops(job, shape, prompt) / job.parallel
    return decoding + asked / (speed * USE_PREFILL), at_once


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


def assumptions(job: Job, timing: Timing, name: str, gpu: Gpu, given: bool) -> list[str]:
    """The assumptions behind the estimate."""
    waves = (
        f"generate: one wave of {job.questions} questions; model.refill asks up to {job.waves} per "
        f"step, for up to {job.waves} times these seconds"
    )
    whence = "given" if given else f"assumed, {COMPLETION_SHARE:.0%} of max_new_tokens"
    return [
        f"mean completion {timing.completion:.0f} tokens ({whence}; --mean-length sets it), mean "
        f"prompt {timing.prompt:.0f} ({PROMPT_SHARE:.0%} of max_prompt_tokens)",
        f"{name}: {gpu.flops / 1e12:.0f} TFLOP/s dense bf16, fp32 {FP32_SLOWER} times slower, "
        f"{gpu.bandwidth / 1e12:.2f} TB/s, link {gpu.link / 1e9:.0f} GB/s per direction",
        f"share of peak FLOP/s: prefill {USE_PREFILL:.0%}, score {USE_SCORE:.0%}, update "
        f"{USE_UPDATE:.0%}; of bandwidth in decoding {USE_BANDWIDTH:.0%}, of the link "
        f"{USE_LINK:.0%}",
        f"decoding {timing.at_once} sequences at once per engine, {DECODE_OVERHEAD * 1e3:.0f} ms "
        "of overhead per token, the longest ones alone at the end"
        if timing.at_once
        else "generate: the server's GPUs are not known, so its time is not in the step",
        f"other: {OTHER:.0f} s per step for grading, vLLM's sleep and the transfer of weights; no "
        "time is counted for evaluation and start-up",
        *([waves] if job.waves > 1 else []),
    ]


def memory_named(gpu: Gpu) -> int:
    """Bytes of a GPU's memory."""
    return int(gpu.memory * GIB)
