"""Completions become graded rollouts."""

import torch

from ..errors import UserError
from ..heartbeat import phase
from ..templates import PromptEncoder
from ..types import Completions, QuestionBatch, RolloutBatch
from .reward import Graded, Reward
from .verifier import Verifier


def grade(
    batch: QuestionBatch,
    group_size: int,
    completions: Completions,
    prompts: PromptEncoder,
    verifier: Verifier,
) -> RolloutBatch:
    """Decode and verify.

    Args:
        batch: Q questions.
        group_size: G.
        completions: of Q x G rollouts, question-major.
        prompts: its tokenizer decodes the completions.
        verifier: decides whether an answer is right.
    """
    lengths = completions.lengths_N.tolist()
    texts = [
        prompts.decode(tokens[:length])
        for tokens, length in zip(completions.tokens_NT.tolist(), lengths, strict=True)
    ]
    asked = [question for question in batch.questions for _ in range(group_size)]
    with phase(f"verify by {type(verifier).__name__}"):
        verdicts = verifier.verify(asked, texts)
    correct_N = completions.logp_NT.new_tensor([float(v.correct) for v in verdicts])
    return RolloutBatch(
        source=batch,
        group_size=group_size,
        completions=completions,
        texts=texts,
        verdicts=verdicts,
        correct_N=correct_N,
        reward_N=correct_N.clone(),
    )


def apply_rewards(rollouts: RolloutBatch, rewards: list[Reward]) -> None:
    """Set ``reward_N`` to the weighted sum of the rewards, and keep each reward's scores.

    Raises:
        UserError: naming the reward whose scores are too few, too many or not finite.
    """
    done = rollouts.completions
    questions = [q for q in rollouts.source.questions for _ in range(rollouts.group_size)]
    lengths = done.lengths_N.tolist()
    columns = (questions, rollouts.texts, lengths, done.finish, rollouts.verdicts)
    graded = [Graded(*fields) for fields in zip(*columns, strict=True)]
    rollouts.reward_N = torch.zeros_like(rollouts.correct_N)
    for reward in rewards:
        with phase(f"reward by {type(reward).__name__}"):
            score_N = rollouts.reward_N.new_tensor(reward.score(graded))
        if score_N.shape != rollouts.reward_N.shape:
            raise UserError(
                f"model.rewards: {type(reward).__name__}.score returned {score_N.numel()} scores "
                f"for {len(graded)} rollouts"
            )
        if not score_N.isfinite().all():
            raise UserError(
                f"model.rewards: {type(reward).__name__} gave a score that is not finite"
            )
        rollouts.score_N[reward.name] = score_N
        rollouts.reward_N += reward.weight * score_N
