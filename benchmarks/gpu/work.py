"""Policies with random weights and rollouts of real lengths, as a training step has them."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from fgexpo.advantages import group_advantages
from fgexpo.groups import Groups
from fgexpo.model.packing import enable_packing, is_packed
from fgexpo.model.sequences import join
from fgexpo.questions import Question
from fgexpo.rewards import Verdict
from fgexpo.rollout import RolloutRequest, Sampling
from fgexpo.seeding import hash_seed
from fgexpo.types import Asked, Completions, QuestionBatch
from fgexpo.update.batch import TrainingBatch
from fgexpo.update.micro_batches import pack

from .scale import Decoding, Setting

SHORTEST = 0.2  # of the longest completion; the mean is then 60 % of it


def autocast(device: str) -> AbstractContextManager[Any]:
    """Lightning's ``bf16-mixed``, exactly: no cache of cast weights."""
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)


def open_policy(setting: Setting, checkpointing: bool = False) -> Any:
    """Float32 weights, random but always the same, made on the device, in training mode."""
    config = setting.size.config()
    torch.manual_seed(0)
    with torch.device(setting.device):
        policy: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    enable_packing(policy)
    if checkpointing:
        policy.gradient_checkpointing_enable({"use_reentrant": False})
    return policy.train()


def draw_rollouts(
    setting: Setting, prompts: list[int], completions: list[int], group: int
) -> TrainingBatch:
    """Rollouts of random tokens, graded at random.

    Args:
        setting: vocabulary and device.
        prompts: tokens of each prompt.
        completions: tokens of each completion, ``group`` for each prompt.
        group: rollouts per question.
    """
    generator = torch.Generator().manual_seed(1)
    vocabulary = setting.size.config().vocab_size
    width = max(completions)
    lengths_N = torch.tensor(completions)
    tokens_NT = torch.randint(vocabulary, (len(completions), width), generator=generator)
    tokens_NT *= torch.arange(width) < lengths_N[:, None]
    given = Completions(
        tokens_NT.to(setting.device),
        lengths_N.to(setting.device),
        ["length"] * len(completions),
        torch.zeros(tokens_NT.shape, device=setting.device),
    )
    asked = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in prompts]
    questions = [Question(str(n), "", "") for n in range(len(prompts))]
    reward_N = torch.randint(2, (len(completions),), generator=generator).float()
    advantages_QG = group_advantages(reward_N.view(-1, group))
    groups = Groups([group] * len(prompts))
    return TrainingBatch(
        source=QuestionBatch(torch.arange(len(prompts)), questions, asked, "gpu check"),
        groups=groups,
        completions=given,
        texts=[""] * len(completions),
        verdicts=[Verdict(False, None)] * len(completions),
        correct_N=reward_N.to(setting.device),
        reward_N=reward_N.to(setting.device),
        asked=Asked(*torch.zeros(6, 0, dtype=torch.long)),
        advantages_N=advantages_QG.flatten().to(setting.device),
        sequences=join(asked, given, groups),
        cuts=[],
    )


def real_rollouts(setting: Setting) -> TrainingBatch:
    """Those of one update: lengths spread evenly, in random order, the longest at the limit."""
    size = setting.size
    count = size.questions * size.group
    order = torch.randperm(count, generator=torch.Generator().manual_seed(2))
    shares = torch.linspace(SHORTEST, 1, count)[order]
    prompts = torch.linspace(*size.prompt, size.questions).round().int().tolist()
    return draw_rollouts(setting, prompts, (shares * size.new).int().tolist(), size.group)


def cut_rollouts(policy: Any, rollouts: TrainingBatch, micro_tokens: int) -> list[torch.Tensor]:
    """Rows of each micro-batch, as training cuts them on one GPU."""
    rows = torch.arange(len(rollouts.texts))
    return pack(rows, rollouts.sequences.lengths_N, micro_tokens, not is_packed(policy))


def request(setting: Setting, decoding: Decoding, step: int = 0) -> RolloutRequest:
    """A request to an engine; no token ends a completion, so all have the same length."""
    vocabulary, group = setting.size.config().vocab_size, setting.size.group
    lengths = prompt_lengths(decoding)
    # Different prompts in every step, so that no engine has them in its prefix cache.
    generator = torch.Generator().manual_seed(step)
    prompts = [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]
    seeds = [[hash_seed(step, q, g) for g in range(group)] for q in range(len(prompts))]
    sampling = Sampling(max_new_tokens=decoding.new)
    device = torch.device(setting.device)
    return RolloutRequest(prompts, seeds, sampling, [], device, decoding.prompt + decoding.new)


def prompt_lengths(decoding: Decoding) -> list[int]:
    """From half of the longest to the longest."""
    lengths = torch.linspace(decoding.prompt / 2, decoding.prompt, decoding.questions)
    return lengths.round().int().tolist()
