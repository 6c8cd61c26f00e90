"""What flows through a step: questions become completions, completions become rollouts.

Shape legend, used in every file:
    M  questions in the pool          Q  questions in a batch
    G  rollouts a question            N  rollouts in a batch, question by question; N = Q * G
                                         where all groups have the same size
    T  completion tokens, right-padded    L  prompt + completion tokens, right-padded
    A  questions asked in a training step, over all processes, trained on or not
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .groups import Groups
from .questions import FinishReason, Question, Verdict


@dataclass
class QuestionBatch:
    """Questions on their way to the rollout engine.

    Attributes:
        index_Q: row of each question in its dataset, int64 [Q].
        questions: the Q questions.
        prompts: token ids of each templated prompt, Q lists.
        dataset: the dataset's name, as in ``val/<dataset>/pass@1``.
    """

    index_Q: Tensor
    questions: list[Question]
    prompts: list[list[int]]
    dataset: str

    def __len__(self) -> int:
        return len(self.questions)

    def select(self, rows: list[int]) -> "QuestionBatch":
        """Some of the questions."""
        return QuestionBatch(
            self.index_Q[rows],
            [self.questions[row] for row in rows],
            [self.prompts[row] for row in rows],
            self.dataset,
        )

    def to(self, device: torch.device | str, **kwargs: Any) -> "QuestionBatch":
        """Move the only tensor; Lightning then leaves the questions alone."""
        return QuestionBatch(
            self.index_Q.to(device, **kwargs), self.questions, self.prompts, self.dataset
        )


@dataclass
class Completions:
    """What an engine returns for N prompts.

    Attributes:
        tokens_NT: sampled ids, the stop token included, right-padded, int64 [N, T].
        lengths_N: real tokens a row, int64 [N].
        finish: why each row ended: a stop token or string, or the token limit.
        logp_NT: log-prob of each sampled token under the tempered policy, before top-p and
            top-k cut it, [N, T]; 0 in the padding.
    """

    tokens_NT: Tensor
    lengths_N: Tensor
    finish: list[FinishReason]
    logp_NT: Tensor

    @property
    def mask_NT(self) -> Tensor:
        """True on real tokens, bool [N, T]; from lengths, since a pad id may equal eos."""
        positions_T = torch.arange(self.tokens_NT.shape[1], device=self.tokens_NT.device)
        return positions_T < self.lengths_N[:, None]


@dataclass
class Asked:
    """Every question that a training step has asked, over all processes, trained on or not.

    The same on all processes, in the order drawn, in the host's memory.

    Attributes:
        index_A: rows of the pool, distinct, int64 [A].
        rollouts_A: how many each one has, int64 [A].
        planned_A: how many of them were decided on before any was seen, int64 [A].
        correct_A: how many of those are correct, int64 [A].
        tokens_A: completion tokens of each one's rollouts, int64 [A].
        informative_A: whether its group has a signal, by the advantage estimator, bool [A].
        waves: how many draws the questions come from.
    """

    index_A: Tensor
    rollouts_A: Tensor
    planned_A: Tensor
    correct_A: Tensor
    tokens_A: Tensor
    informative_A: Tensor
    waves: int = 1

    def __len__(self) -> int:
        return len(self.index_A)

    def __add__(self, later: "Asked") -> "Asked":
        """These questions and those of later waves."""
        return Asked(
            torch.cat([self.index_A, later.index_A]),
            torch.cat([self.rollouts_A, later.rollouts_A]),
            torch.cat([self.planned_A, later.planned_A]),
            torch.cat([self.correct_A, later.correct_A]),
            torch.cat([self.tokens_A, later.tokens_A]),
            torch.cat([self.informative_A, later.informative_A]),
            self.waves + later.waves,
        )

    @property
    def pass_rate_A(self) -> Tensor:
        """Share of each question's planned rollouts that are correct, float32 [A].

        Those asked for because of how others went would bias it.
        """
        return self.correct_A.float() / self.planned_A

    @property
    def rollouts(self) -> int:
        """How many there were."""
        return int(self.rollouts_A.sum())

    @property
    def tokens(self) -> int:
        """Tokens of all their completions."""
        return int(self.tokens_A.sum())

    @property
    def accuracy(self) -> float:
        """Mean of the questions' pass-rates: no question counts more for having more rollouts."""
        if len(self.planned_A.unique()) > 1:
            return float((self.correct_A.double() / self.planned_A).mean())
        return float(self.correct_A.sum().float() / int(self.planned_A.sum()))


@dataclass
class RolloutBatch:
    """Graded rollouts of one batch of questions.

    Floats are float64 where the policy's weights are, and float32 otherwise.

    Attributes:
        source: the questions asked.
        groups: how many rollouts each question has.
        completions: what the engine sampled, N rows, question by question.
        texts: the decoded completions, without special tokens.
        verdicts: what the verifier found in each, N of them.
        correct_N: the verifier's verdict in {0, 1}, [N]; never shaped.
        reward_N: the weighted sum of the rewards, [N].
        score_N: each reward's own scores, unweighted, by its name, [N].
        seconds: time spent on this process, by TensorBoard tag.
    """

    source: QuestionBatch
    groups: Groups
    completions: Completions
    texts: list[str]
    verdicts: list[Verdict]
    correct_N: Tensor
    reward_N: Tensor
    score_N: dict[str, Tensor] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def pass_rate_Q(self) -> Tensor:
        """Share of each question's planned rollouts that are correct, [Q]."""
        return self.groups.planned_means(self.correct_N)
