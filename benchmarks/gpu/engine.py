"""vLLM in the same process as the policy: speed, transfer of weights, sleep, and agreement."""

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from fgexpo.plan.generation import ENGINE_RESIDUE
from fgexpo.rollout import VLLM

from .agreement import CHECKED, agreement, disagreement, generate
from .clock import GIB, Measured, gib, seconds_of, tidy
from .generation import decoding_cells, speed_cells
from .report import Finding, Note, Row, below
from .scale import Setting
from .work import open_policy, request

# The default. On a CPU, which is for tests, other processes' memory counts as used too.
MEMORY = {"cuda": 0.4, "cpu": 0.2}
TABLE = "Life of the engine"
CHANGE = -1.0  # factor on the LM head: old weights would show, and rounding does not change


def installed() -> bool:
    """Whether vLLM is installed."""
    return importlib.util.find_spec("vllm") is not None


def engine(setting: Setting) -> Iterator[Finding]:
    """Open, generate, transfer weights, sleep and wake."""
    if not installed():
        yield Note("vLLM is not installed here: not run.")
        return
    policy, cuda = open_policy(setting).eval(), setting.device == "cuda"
    dtype = "bfloat16" if cuda else None
    vllm = VLLM(memory=MEMORY[setting.device], dtype=dtype, eager=not cuda)
    free = _free(setting.device)
    first = partial(generate, vllm, policy, setting, CHECKED, step=0)
    seconds = seconds_of(first, setting.device)
    taken = free - _free(setting.device)
    yield _event("open, first weights, first tokens", seconds, f"{gib(taken)} taken")
    yield from _speed(vllm, policy, setting)
    yield agreement("as opened", vllm, policy, setting)
    with torch.no_grad():
        policy.get_output_embeddings().weight.mul_(CHANGE)
    yield disagreement("with weights that were not handed over", vllm, policy, setting)
    vllm.sync(policy)
    yield _event("hand over new weights", _take_over(vllm, policy, setting.device), "-")
    yield agreement("after a hand-over of other weights", vllm, policy, setting)
    if not vllm.sleep:
        yield Note("Sleep needs a GPU: not run.")
        return
    tidy(setting.device)
    free = _free(setting.device)
    seconds = seconds_of(vllm.rest, setting.device)
    freed = _free(setting.device) - free
    yield _event("sleep", seconds, f"{gib(freed)} given back")
    kept = (taken - freed) / GIB
    why = "GiB, what `fgexpo plan` takes for granted of a sleeping engine"
    yield below("GiB that a sleeping engine keeps", kept, ENGINE_RESIDUE / GIB, why)
    seconds = _take_over(vllm, policy, setting.device)
    yield _event("wake, with the weights", seconds, f"{gib(free - _free(setting.device))} more")
    yield agreement("after sleep", vllm, policy, setting)


def _speed(vllm: VLLM, policy: Any, setting: Setting) -> Iterator[Finding]:
    decoding = setting.size.vllm
    works = [
        partial(generate, vllm, policy, setting, decoding.new, step=2 + run)
        for run in range(decoding.repeats)
    ]
    runs = [seconds_of(work, setting.device) for work in works]
    found = Measured(runs, None)
    row = decoding_cells(setting, decoding) | {"seconds": found.spread}
    row = {"through": "our engine"} | row
    yield Row("Generation by vLLM", row | speed_cells(setting, decoding, found.median))
    raw = seconds_of(partial(_raw, vllm, setting), setting.device)
    row |= {"through": "LLM.generate", "seconds": f"{raw:.2f} (1 run)"}
    yield Row("Generation by vLLM", row | speed_cells(setting, decoding, raw))
    yield Note(
        "Every completion has all of its tokens. Tokens a second count completions. Our engine "
        f"takes {found.median / raw:.2f} x the seconds of vLLM's own `LLM.generate` on as many "
        "prompts of the same lengths, which asks for no log-probs and gives no seeds."
    )


def _raw(vllm: VLLM, setting: Setting) -> None:
    """What vLLM's own interface takes for the same completions."""
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    decoding = setting.size.vllm
    asked = request(setting, decoding, step=2 + decoding.repeats)
    params = SamplingParams(
        n=setting.size.group, max_tokens=decoding.new, ignore_eos=True, detokenize=False
    )
    prompts = [{"prompt_token_ids": prompt} for prompt in asked.prompts]
    found = vllm._llm.generate(prompts, params, use_tqdm=False)
    assert all(len(one.token_ids) == decoding.new for answer in found for one in answer.outputs)


def _take_over(vllm: VLLM, policy: Any, device: str) -> float:
    """Seconds that ``generate`` first takes when the weights have changed."""
    with isolate_rng(), torch.no_grad():
        return seconds_of(lambda: vllm._take_over(policy), device)


def _free(device: str) -> int:
    """Unused bytes of the device, as its driver counts them."""
    if device == "cpu":
        return 0
    tidy(device)
    return torch.cuda.mem_get_info()[0]


def _event(what: str, seconds: float, memory: str) -> Row:
    return Row(TABLE, {"what": what, "seconds": f"{seconds:.2f}", "GiB": memory})
