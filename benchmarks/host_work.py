"""The rollouts of a real step, without a model: made texts, their tokens, random log-probs."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fgexpo.groups import Groups
from fgexpo.questions import Question, Verdict
from fgexpo.rollout.vllm.formats import to_completions
from fgexpo.types import QuestionBatch, RolloutBatch

CPU = torch.device("cpu")
PROMPT = (100, 200)
SHORTEST = 0.2  # of the limit: lengths are uniform from here to the limit, 60 % on average
MADE = 400  # lines of the text that rollouts are cut from, for each question


@dataclass(frozen=True)
class Size:
    """How much a step samples.

    Attributes:
        questions: asked.
        group: rollouts of each.
        tokens: the most tokens of a rollout.
        processes: that exchange questions.
    """

    questions: int = 128
    group: int = 16
    tokens: int = 3072
    processes: int = 4

    @property
    def rollouts(self) -> int:
        """Of all questions."""
        return self.questions * self.group

    @property
    def groups(self) -> Groups:
        """Of all questions."""
        return Groups([self.group] * self.questions)


def tokenizer() -> Any:
    """A byte-level BPE of the usual kind, trained on the text that rollouts are cut from."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(lines(2000), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")


def lines(count: int) -> list[str]:
    """Lines of a calculation."""
    draw = random.Random(0)
    words = ("so", "then", "we", "add", "the", "remaining", "terms", "which", "gives", "hence")
    return [
        f"{' '.join(draw.choices(words, k=6))} {draw.randrange(1000)} * {draw.randrange(100)} = "
        f"{draw.randrange(10**5)}.\n"
        for _ in range(count)
    ]


def answers(size: Size, writer: Any) -> tuple[list[list[int]], list[list[float]]]:
    """Tokens and log-probs of every rollout; each ends with a boxed number."""
    draw = random.Random(1)
    long = writer("".join(lines(MADE)), add_special_tokens=False).input_ids
    while len(long) < 2 * size.tokens:
        long = long + long
    tokens = []
    for _ in range(size.rollouts):
        length = draw.randint(max(1, round(SHORTEST * size.tokens)), size.tokens)
        end = writer(f"It is \\boxed{{{draw.randrange(50)}}}.").input_ids[:length]
        start = draw.randrange(len(long) - size.tokens)
        tokens.append([*long[start : start + length - len(end)], *end])
    return tokens, [[-draw.random() for _ in row] for row in tokens]


def asked(size: Size) -> QuestionBatch:
    """The questions, whose prompts are random tokens."""
    draw = random.Random(2)
    prompts = [
        [draw.randrange(300) for _ in range(draw.randint(*PROMPT))] for _ in range(size.questions)
    ]
    questions = [Question(str(n), f"question {n}", str(n % 50)) for n in range(size.questions)]
    return QuestionBatch(torch.arange(size.questions), questions, prompts, "train")


def graded(size: Size, writer: Any) -> RolloutBatch:
    """All of a step's rollouts, as they are after grading."""
    tokens, logps = answers(size, writer)
    nothing_N = torch.zeros(size.rollouts)
    return RolloutBatch(
        source=asked(size),
        groups=size.groups,
        completions=to_completions(tokens, logps, ["length"] * size.rollouts, CPU),
        texts=[writer.decode(row) for row in tokens],
        verdicts=[Verdict(False, None)] * size.rollouts,
        correct_N=nothing_N,
        reward_N=nothing_N.clone(),
    )
