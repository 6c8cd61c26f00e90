"""Completions become graded rollouts."""

import torch

from .heartbeat import phase
from .rewards import Verifier
from .templates import PromptEncoder
from .types import Completions, QuestionBatch, RolloutBatch


def grade(
    batch: QuestionBatch,
    count: int,
    completions: Completions,
    prompts: PromptEncoder,
    verifier: Verifier,
) -> RolloutBatch:
    """Decode and verify.

    Args:
        batch: Q questions.
        count: G.
        completions: of Q x G rollouts, question-major.
        prompts: whose tokenizer decodes.
        verifier: what says whether an answer is right.
    """
    lengths = completions.lengths_N.tolist()
    texts = [
        prompts.decode(tokens[:length])
        for tokens, length in zip(completions.tokens_NT.tolist(), lengths, strict=True)
    ]
    asked = [question for question in batch.questions for _ in range(count)]
    with phase(f"verify by {type(verifier).__name__}"):
        verdicts = verifier.verify(asked, texts)
    correct_N = completions.logp_NT.new_tensor([float(v.correct) for v in verdicts])
    flags = {
        "timed_out": [verdict.timed_out for verdict in verdicts],
        "unanswered": [verdict.answer is None for verdict in verdicts],
    }
    return RolloutBatch(
        source=batch,
        group_size=count,
        completions=completions,
        texts=texts,
        verdicts=verdicts,
        correct_N=correct_N,
        reward_N=correct_N.clone(),
        advantages_N=torch.zeros_like(correct_N),
        columns={name: torch.tensor(up).to(correct_N) for name, up in flags.items()},
    )
