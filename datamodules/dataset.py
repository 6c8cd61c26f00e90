"""Questions as a map-style dataset of prompts that fit."""

import hashlib
import math
import re
from collections.abc import Iterable
from functools import cached_property

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fgexpo.errors import UserError
from fgexpo.evaluation.results import MEAN
from fgexpo.questions import Question, is_text
from fgexpo.rewards import Verifier
from fgexpo.robustness.same_run import question_keys
from fgexpo.tasks import QuestionSource
from fgexpo.templates import PromptEncoder
from fgexpo.types import QuestionBatch

SAMPLE = 50  # prompts checked for characters that the tokenizer drops
# No separator of folders, no markup of a terminal, nothing that a shell or a file system minds.
_NAME = re.compile(r"[^\W_][\w .+=@()-]{0,99}(?<! )(?<!\.)")
Item = tuple[int, Question, list[int]]


class QuestionDataset(Dataset[Item]):
    """Encoded questions; those whose prompts are too long are dropped and counted.

    Args:
        name: as in ``val/<name>/pass@1``.
        source: where the questions come from.
        encoder: template and tokenizer.

    Attributes:
        questions: the M questions that are left.
        prompts: their token ids.
        dropped: how many were too long.

    Raises:
        UserError: for an empty answer, a repeated id, or nothing left.
    """

    def __init__(self, name: str, source: QuestionSource, encoder: PromptEncoder) -> None:
        self.name = name
        self.questions: list[Question] = []
        self.prompts: list[list[int]] = []
        found = source.questions()
        _check(name, found)
        for question in found:
            prompt = encoder.encode(question.prompt)
            if prompt is not None and not prompt:
                raise UserError(
                    f"data: {name}, question {question.id!r} has no prompt tokens; is the question "
                    "empty, or the tokenizer of model.name?"
                )
            if prompt is not None:
                self.questions.append(question)
                self.prompts.append(prompt)
        self.dropped = len(found) - len(self.questions)
        if self.dropped:
            rank_zero_info(
                f"{name}: dropped {self.dropped} of {len(found)} questions whose prompts exceed "
                f"model.max_prompt_tokens = {encoder.max_prompt_tokens}"
            )
        if not self.questions:
            raise UserError(f"data: {name} has no question that fits")
        self._warn_of_lost_characters(encoder)

    def _warn_of_lost_characters(self, encoder: PromptEncoder) -> None:
        """Warn of characters that the tokenizer drops: the model cannot read such questions."""
        lost: set[str] = set()
        for question, prompt in list(zip(self.questions, self.prompts, strict=True))[:SAMPLE]:
            text = encoder.template.render(question.prompt, encoder.tokenizer)
            lost |= set(text) - set(encoder.tokenizer.decode(prompt)) - set(" \n\t")
        if lost:
            rank_zero_warn(
                f"{self.name}: the tokenizer of {encoder.tokenizer.name_or_path!r} drops "
                f"characters of the questions, such as {''.join(sorted(lost))[:20]!r}"
            )

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, row: int) -> Item:
        return row, self.questions[row], self.prompts[row]

    def share(self, rank: int, world_size: int) -> list[int]:
        """The rows that one process evaluates; every process gets equally many.

        The last rows wrap around to the first ones, so a caller must count each row once.
        """
        size = math.ceil(len(self) / world_size)
        return [row % len(self) for row in range(rank, size * world_size, world_size)]

    @cached_property
    def keys(self) -> Tensor:
        """A number for each question's id, int64 [M]; every checkpoint holds them."""
        return question_keys([question.id for question in self.questions])

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any question, answer or allowed error, and with their order."""
        digest = hashlib.blake2b(digest_size=8)
        for question in self.questions:
            text = f"{question.id}\x1f{question.prompt}\x1f{question.answer}"
            if question.relative_error or question.absolute_error:
                text += f"\x1f{question.relative_error}\x1f{question.absolute_error}"
            digest.update(f"{text}\x1e".encode())
        return digest.hexdigest()

    def loader(self, batch_size: int, sampler: Sampler[int] | list[int]) -> DataLoader[Item]:
        """Batches in the sampler's order, drawn only when asked for.

        No worker processes: they would draw ahead of what training has just learned.
        """
        return DataLoader(
            self,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=self._collate,
            # A separate generator: the loader must not draw from torch's global one.
            generator=torch.Generator(),
        )

    def batch(self, rows: list[int]) -> QuestionBatch:
        """The questions of these rows."""
        return self._collate([self[row] for row in rows])

    def _collate(self, items: list[Item]) -> QuestionBatch:
        rows, questions, prompts = zip(*items, strict=True)
        return QuestionBatch(torch.tensor(rows), list(questions), list(prompts), self.name)


def evaluation_loaders(
    data: LightningDataModule, sets: list[QuestionDataset], batch_size: int
) -> list[DataLoader[Item]]:
    """A loader for each evaluation set, this process's share of it."""
    assert data.trainer is not None
    rank, world_size = data.trainer.global_rank, data.trainer.world_size
    return [dataset.loader(batch_size, dataset.share(rank, world_size)) for dataset in sets]


def encoder_of(data: LightningDataModule) -> PromptEncoder:
    """The prompt encoder of the module that this data is for.

    Raises:
        UserError: when the module has none.
    """
    assert data.trainer is not None
    encoder = getattr(data.trainer.lightning_module, "prompts", None)
    if not isinstance(encoder, PromptEncoder):
        raise UserError(
            f"data: {type(data).__name__} needs a PolicyModule, whose prompts encode the questions"
        )
    return encoder


def check_names(setting: str, names: Iterable[str]) -> None:
    """Check the names of evaluation sets, which become tags, folders and headings.

    Raises:
        UserError: naming the setting, and the name that cannot be one.
    """
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(
                f"{setting}: {name!r} cannot be the name of a set, expected up to 100 letters, "
                "digits, spaces and any of . _ - + = @ ( ), beginning with a letter or a digit"
            )
        if name == MEAN:
            raise UserError(f"{setting}: {MEAN!r} is the name of the mean over all sets")


def check_golds(data: LightningDataModule, sets: Iterable[QuestionDataset]) -> None:
    """Check that the module's verifier can grade answers to every question.

    Raises:
        UserError: naming the place of the first gold answer that it cannot grade.
    """
    assert data.trainer is not None
    verifier = getattr(data.trainer.lightning_module, "verifier", None)
    if not isinstance(verifier, Verifier):
        return
    for dataset in sets:
        found = verifier.ungradable(dataset.questions)
        if found:
            question, reason = found[0]
            raise UserError(
                f"data: {dataset.name}, {question.place}: {type(verifier).__name__} cannot grade "
                f"answers against the gold answer {question.answer[:80]!r}: {reason}; mend or "
                f"remove it ({len(found)} of {len(dataset):,} questions have such a gold answer)"
            )


def _check(name: str, questions: list[Question]) -> None:
    seen: set[str] = set()
    for question in questions:
        texts = {"id": question.id, "prompt": question.prompt, "answer": question.answer}
        for field, text in (texts | question.tags).items():
            if not is_text(text):
                raise UserError(
                    f"data: {name}, question {question.id!r} has half a character in its {field}"
                )
        if not question.answer.strip() and not question.details:
            raise UserError(f"data: {name}, question {question.id!r} has no answer")
        if question.id in seen:
            raise UserError(f"data: {name} has two questions with the id {question.id!r}")
        seen.add(question.id)
