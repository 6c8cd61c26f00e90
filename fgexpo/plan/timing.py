"""Seconds of a step by phase: an estimate, good for orders of magnitude and for comparisons.

Compute-bound phases take their floating-point operations over the usual share of a GPU's peak;
decoding takes the bytes that every token's step reads over a share of the bandwidth.
"""

from dataclasses import dataclass

from .generation import EngineBytes, engine_dtype
from .gpus import Gpu
from .job import Job
from .passes import FP32_SLOWER, USE_BANDWIDTH, USE_LINK, USE_PASSES, body_flops, pass_seconds
from .shape import Shape, elements, shape_of
from .state import State

# Assumptions, printed with every plan.
USE_PREFILL = 0.40  # share of the peak FLOP/s in reading prompts
DECODE_OVERHEAD = 0.005  # seconds per decoded token: scheduler, sampler, kernel launches
PROMPT_SHARE = 0.15  # of max_prompt_tokens: the mean prompt
COMPLETION_SHARE = 0.60  # of max_new_tokens: the mean completion, without --mean-length
OTHER = 5.0  # seconds per step: grading, waking and sleeping of vLLM, transfer of weights


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


def plan_timing(
    job: Job, state: State, engine: EngineBytes, gpu: Gpu, mean_length: float | None
) -> Timing:
    """Estimate a step of ``job`` whose completions have ``mean_length`` tokens on average."""
    shape = shape_of(job.config)
    prompt = PROMPT_SHARE * job.max_prompt if job.mean_prompt is None else job.mean_prompt
    completion = COMPLETION_SHARE * job.max_new if mean_length is None else mean_length
    generate, at_once = generation(job, shape, engine, gpu, prompt, completion)
    passes = pass_seconds(job, shape, state, gpu, prompt, completion)
    seconds = {"generate": generate, "score": passes.score, "update": passes.update, "other": OTHER}
    return Timing(seconds, prompt, completion, at_once)


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
        f"share of peak FLOP/s: prefill {USE_PREFILL:.0%}, score and update {USE_PASSES:.1%} "
        f"(measured, docs/gpu.md); of bandwidth in decoding {USE_BANDWIDTH:.0%}, of the link "
        f"{USE_LINK:.0%}",
        "the LM head reads bf16 logits once: by counted bytes, not measured",
        f"decoding {timing.at_once} sequences at once per engine, {DECODE_OVERHEAD * 1e3:.0f} ms "
        "of overhead per token, the longest ones alone at the end"
        if timing.at_once
        else "generate: the server's GPUs are not known, so its time is not in the step",
        f"other: {OTHER:.0f} s per step for grading, vLLM's sleep and the transfer of weights; no "
        "time is counted for evaluation and start-up",
        *([waves] if job.waves > 1 else []),
    ]
