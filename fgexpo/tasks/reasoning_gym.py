"""Verifiable tasks beyond arithmetic, made without a network by the package reasoning-gym."""

import json
from typing import Any, get_args

from ..errors import UserError
from ..gym.maker import ask, draw
from ..gym.splits import GymSplit
from ..questions import Question
from ..seeding import hash_seed
from .sources import QuestionSource

QUICK = 500  # questions, which most data sets make in a second


class ReasoningGym(QuestionSource):
    r"""Questions of one data set of reasoning-gym, such as ``chain_sum``.

    A question belongs to one split by its text alone, so no two sources share a question across
    splits, whatever their seeds, counts and settings; equal texts count once. Grade them with
    :class:`.ReasoningGymScorer`, or with a verifier that reads their gold answers.

    Args:
        name: the data set; a wrong name is told with the nearest one.
        split: ``pool`` to train on (12 of 20 texts), ``held_out`` to judge by (4), ``validation``
            to tune on (2); the others are for examples.
        count: questions.
        settings: fields of the data set's configuration, such as ``{max_terms: 3}``.
        examples: solved questions shown before each question, the same for all of this source:
            ``Q: ...``, ``A: ...``, and at the end ``A:``. Use it with the template ``Plain`` and
            ``stop_tokens: ["\n"]``.
        seed: selects the questions within the split.

    Raises:
        UserError: for a data set or settings that the package does not have.
    """

    def __init__(
        self,
        name: str,
        split: GymSplit = "pool",
        count: int = 200,
        settings: dict[str, Any] | None = None,
        examples: int = 0,
        seed: int = 0,
    ) -> None:
        if split not in get_args(GymSplit):
            raise UserError(
                f"ReasoningGym.split must be one of {get_args(GymSplit)}, got {split!r}"
            )
        if count < 1:
            raise UserError(f"ReasoningGym.count must be at least 1, got {count}")
        if examples < 0:
            raise UserError(f"ReasoningGym.examples must be at least 0, got {examples}")
        self.name = name
        self.split: GymSplit = split
        self.count = count
        self.settings = settings or {}
        self.examples = examples
        self.seed = seed
        ask(name, "check", name, self.settings)

    @property
    def quick(self) -> bool:
        """If they are few, since some data sets take long for each question."""
        return self.count + self.examples <= QUICK

    def questions(self) -> list[Question]:
        """The same questions for the same arguments, on any machine.

        Raises:
            UserError: when the split has fewer, or one cannot be made in time.
        """
        wanted = {self.split: self.count, "examples": self.examples}
        found = draw(self.name, self.settings, self.seed, wanted)
        for part, count in wanted.items():
            if len(found[part]) < count:
                asked = f"ReasoningGym.{'examples' if part == 'examples' else 'count'}"
                raise UserError(
                    f"ReasoningGym {self.name} with these settings has only {len(found[part])} "
                    f"different questions in split {part}, {asked} = {count}"
                )
        shown = self._shown(found["examples"])
        return [self._question(made, shown) for made in found[self.split]]

    def _shown(self, solved: list[dict[str, Any]]) -> str:
        for made in solved:
            if not made["answer"]:
                raise UserError(
                    f"ReasoningGym.examples = {self.examples}: {self.name} has no gold answers to "
                    "show, since only its scorer knows what is right"
                )
        return "".join(f"Q: {made['text']}\nA: {made['answer']}\n\n" for made in solved)

    def _question(self, made: dict[str, Any], shown: str) -> Question:
        settings = json.dumps(self.settings, sort_keys=True)
        return Question(
            id=f"{self.name}/{hash_seed(settings, made['text']):016x}",
            prompt=f"{shown}Q: {made['text']}\nA:" if shown else made["text"],
            answer=made["answer"],
            tags=made["tags"],
            details=made["details"],
        )
