"""Worked solutions of the embedded world, for the supervised warm-up of the tiny base."""

import random
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from fgexpo.errors import UserError
from fgexpo.model.sequences import Sequences, join_solutions
from fgexpo.seeding import hash_seed
from fgexpo.tasks import QuestionSource
from fgexpo.tasks.arithmetic import FAMILIES, LEVELS, Problem
from fgexpo.templates import PromptEncoder

from .dataset import QuestionDataset, check_golds, check_names, encoder_of


class SupervisedDataModule(LightningDataModule):
    """An endless stream of warm-up problems with their solutions.

    The stream belongs to the ``warm_up`` split, so no question of the pool or of an evaluation set
    is ever shown.

    Args:
        val: evaluation sets by name.
        batch_size: solutions per step.
        questions_per_eval_batch: questions that evaluation asks at once.
        levels: levels of the problems; null for all. Levels left out stay hopeless for the base.
        seed: seed of the stream.

    Raises:
        UserError: for no level, or one that the world does not have.
    """

    def __init__(
        self,
        val: dict[str, QuestionSource],
        batch_size: int = 64,
        questions_per_eval_batch: int = 64,
        levels: list[int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"data.batch_size must be at least 1, got {batch_size}")
        if questions_per_eval_batch < 1:
            raise UserError(
                f"data.questions_per_eval_batch must be at least 1, got {questions_per_eval_batch}"
            )
        self.levels: list[int] = list(LEVELS) if levels is None else levels
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise UserError(f"data.levels must be some of {list(LEVELS)}, got {levels}")
        check_names("data.val", val)
        self.val = val
        self.batch_size = batch_size
        self.questions_per_eval_batch = questions_per_eval_batch
        self.seed = seed
        self.val_sets: list[QuestionDataset] = []

    def setup(self, stage: str) -> None:
        """Encode the evaluation sets."""
        encoder = encoder_of(self)
        self.val_sets = [QuestionDataset(*item, encoder) for item in self.val.items()]
        check_golds(self, self.val_sets)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of joined prompts and solutions."""
        assert self.trainer is not None
        stream = _Stream(self, encoder_of(self), self.trainer.global_step)
        return DataLoader(stream, batch_size=None, generator=torch.Generator())

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """A loader for each evaluation set."""
        return [
            dataset.loader(self.questions_per_eval_batch, dataset.share(0, 1))
            for dataset in self.val_sets
        ]

    def batch(self, step: int) -> list[Problem]:
        """The problems of one step."""
        rng = random.Random(hash_seed(self.seed, "warm-up", step))
        return [_warm_up_problem(rng, self.levels) for _ in range(self.batch_size)]


class _Stream(IterableDataset[Sequences]):
    def __init__(self, data: SupervisedDataModule, encoder: PromptEncoder, first: int) -> None:
        self.data = data
        self.encoder = encoder
        self.first = first

    def __iter__(self) -> Iterator[Sequences]:
        step = self.first
        tokenizer = self.encoder.tokenizer
        while True:
            batch = self.data.batch(step)
            prompts = [_fitting(self.encoder, problem.prompt) for problem in batch]
            solutions = [
                [*_continuation(tokenizer, problem.solution), tokenizer.eos_token_id]
                for problem in batch
            ]
            yield join_solutions(prompts, solutions)
            step += 1


def _continuation(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def _fitting(encoder: PromptEncoder, prompt: str) -> list[int]:
    tokens = encoder.encode(prompt)
    if tokens is None:
        raise UserError(
            f"model.max_prompt_tokens = {encoder.max_prompt_tokens} is too short for the warm-up's "
            f"{prompt!r}"
        )
    return tokens


def _warm_up_problem(rng: random.Random, levels: list[int]) -> Problem:
    make, level = rng.choice(list(FAMILIES.values())), rng.choice(levels)
    while True:
        problem = make(rng, level)
        if problem.split == "warm_up":
            return problem
