"""Completions become graded rollouts."""

import time

import torch

from ..groups import Groups
from ..heartbeat import phase
from ..templates import PromptEncoder
from ..types import Completions, QuestionBatch, RolloutBatch
from .returned import check_scores, check_verdicts
from .reward import Graded, Reward, tags
from .verifier import Verifier


def grade(
    batch: QuestionBatch,
    groups: Groups,
    completions: Completions,
    prompts: PromptEncoder,
    verifier: Verifier,
) -> RolloutBatch:
    """Decode and verify.

    Args:
        batch: Q questions.
        groups: how many rollouts each has.
        completions: of these rollouts, question by question.
        prompts: its tokenizer decodes the completions.
        verifier: decides whether an answer is right.

    Raises:
        UserError: naming the verifier, if it does not give one verdict per completion.
    """
    lengths = completions.lengths_N.tolist()
    texts = [
        prompts.decode(tokens[:length])
        for tokens, length in zip(completions.tokens_NT.tolist(), lengths, strict=True)
    ]
    asked = groups.each(batch.questions)
    with phase(f"verify by {type(verifier).__name__}"):
        verdicts = check_verdicts(verifier, verifier.verify(asked, texts), len(texts))
    correct_N = completions.logp_NT.new_tensor([float(v.correct) for v in verdicts])
    return RolloutBatch(
        source=batch,
        groups=groups,
        completions=completions,
        texts=texts,
        verdicts=verdicts,
        correct_N=correct_N,
        reward_N=correct_N.clone(),
    )


def apply_rewards(rollouts: RolloutBatch, rewards: list[Reward]) -> None:
    """Set ``reward_N`` to the weighted sum of the rewards, and keep each one's scores by its tag.

    Raises:
        UserError: naming the reward that does not give one finite number per rollout.
    """
    started, done = time.perf_counter(), rollouts.completions
    questions = rollouts.groups.each(rollouts.source.questions)
    lengths = done.lengths_N.tolist()
    logps = done.logp_NT.double().sum(1).tolist()
    columns = (questions, rollouts.texts, lengths, done.finish, rollouts.verdicts, logps)
    graded = [Graded(*fields) for fields in zip(*columns, strict=True)]
    rollouts.reward_N = torch.zeros_like(rollouts.correct_N)
    for tag, reward in zip(tags(rewards), rewards, strict=True):
        with phase(f"reward by {type(reward).__name__}"):
            scores = check_scores(reward, reward.score(graded), len(graded))
        rollouts.score_N[tag] = rollouts.reward_N.new_tensor(scores)
        rollouts.reward_N += reward.weight * rollouts.score_N[tag]
    spent = rollouts.seconds.get("reward/seconds", 0.0)
    rollouts.seconds["reward/seconds"] = spent + time.perf_counter() - started
