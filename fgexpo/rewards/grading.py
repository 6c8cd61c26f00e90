"""Completions become graded rollouts."""

import torch

from ..heartbeat import phase
from ..templates import PromptEncoder
from ..types import Completions, QuestionBatch, RolloutBatch
from .returned import check_scores, check_verdicts
from .reward import Graded, Reward, tags
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

    Raises:
        UserError: naming the verifier, if it does not give one verdict per completion.
    """
    lengths = completions.lengths_N.tolist()
    texts = [
        prompts.decode(tokens[:length])
        for tokens, length in zip(completions.tokens_NT.tolist(), lengths, strict=True)
    ]
    asked = [question for question in batch.questions for _ in range(group_size)]
    with phase(f"verify by {type(verifier).__name__}"):
        verdicts = check_verdicts(verifier, verifier.verify(asked, texts), len(texts))
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
    """Set ``reward_N`` to the weighted sum of the rewards, and keep each one's scores by its tag.

    Raises:
        UserError: naming the reward that does not give one finite number per rollout.
    """
    done = rollouts.completions
    questions = [q for q in rollouts.source.questions for _ in range(rollouts.group_size)]
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
