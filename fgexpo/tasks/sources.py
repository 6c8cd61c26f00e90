"""Where questions come from: one small class per source, named in YAML."""

from abc import ABC, abstractmethod
from pathlib import Path

from ..errors import UserError
from ..questions import Question
from .arithmetic import FAMILIES, LEVELS, Split, distinct, to_question
from .rows import Layout, read_questions
from .tables import find_local, open_table


class QuestionSource(ABC):
    """A list of questions, made or read on demand.

    Attributes:
        root: folder where relative paths are first looked for; the data module's ``root``.
    """

    root: str | None = None

    @property
    def quick(self) -> bool:
        """Whether its questions take a second or two and no network; ``plan`` reads only those."""
        return False

    @abstractmethod
    def questions(self) -> list[Question]:
        """Return every question, in a stable order, with distinct ids."""


def look_in(root: str | None, *sources: QuestionSource) -> None:
    """Make the sources look for their files in this folder first.

    Raises:
        UserError: when the folder does not exist.
    """
    if root is None:
        return
    if not Path(root).expanduser().is_dir():
        raise UserError(f"data.root: folder {root!r} does not exist")
    for source in sources:
        source.root = root


class TinyArithmetic(QuestionSource):
    """The embedded arithmetic world.

    Args:
        split: ``pool`` to train on, ``held_out`` to judge by, ``validation`` to tune on.
        per_cell: questions for each of the 6 families x the levels.
        levels: which levels, of 1 to 4; null for all.
        seed: selects questions within the split; the splits do not depend on it.
    """

    def __init__(
        self,
        split: Split = "pool",
        per_cell: int = 70,
        levels: list[int] | None = None,
        seed: int = 0,
    ) -> None:
        if per_cell < 1:
            raise UserError(f"per_cell must be at least 1, got {per_cell}")
        self.split: Split = split
        self.per_cell = per_cell
        self.levels = list(LEVELS) if levels is None else levels
        self.seed = seed

    @property
    def quick(self) -> bool:
        """They are made on the spot."""
        return True

    def questions(self) -> list[Question]:
        """``6 x len(levels) x per_cell`` questions."""
        return [
            to_question(problem)
            for family in FAMILIES
            for level in self.levels
            for problem in distinct(self.split, self.per_cell, self.seed, family, level)
        ]


class Mixture(QuestionSource):
    """The questions of several sources, one after the other.

    Args:
        sources: at least one; all their questions must have different ids.
    """

    def __init__(self, sources: list[QuestionSource]) -> None:
        if not sources:
            raise UserError("sources must not be empty")
        self.sources = sources

    @property
    def quick(self) -> bool:
        """If all of its sources are."""
        look_in(self.root, *self.sources)
        return all(source.quick for source in self.sources)

    def questions(self) -> list[Question]:
        """All of them.

        Raises:
            UserError: naming an id that two sources have.
        """
        look_in(self.root, *self.sources)
        found: dict[str, Question] = {}
        for source in self.sources:
            for question in source.questions():
                if question.id in found:
                    raise UserError(f"sources: two questions have the id {question.id!r}")
                found[question.id] = question
        return list(found.values())


class QuestionFile(QuestionSource):
    """Questions from rows of named columns: local files, or the Hugging Face Hub.

    A column's name may descend by dots, as in ``reward_model.ground_truth``.

    Args:
        path: a .jsonl, .json, .csv, .parquet or .arrow file, a folder of such files, or
            ``owner/name`` on the hub.
        prompt_column: column of the bare question; of chat messages, the last user's is taken.
        answer_column: column of the gold answer.
        id_column: column of a unique id; by default the row's number.
        subset: the hub's configuration.
        split: the hub's split.
        relative_error: how far a numeric answer may be off, as a share of the gold one.
        tags: columns to break results down by.
    """

    def __init__(
        self,
        path: str,
        prompt_column: str = "prompt",
        answer_column: str = "answer",
        id_column: str | None = None,
        subset: str | None = None,
        split: str | None = None,
        relative_error: float = 0.0,
        tags: list[str] | None = None,
    ) -> None:
        if not 0 <= relative_error < 1:
            raise UserError(f"relative_error must be in [0, 1), got {relative_error}")
        self.path = path
        self.subset = subset
        self.split = split
        self.layout = Layout(
            prompt_column,
            answer_column,
            id_column,
            tuple(tags or ()),
            relative_error=relative_error,
        )

    @property
    def quick(self) -> bool:
        """If the file is on this machine."""
        return find_local(self.path, self.root) is not None

    def questions(self) -> list[Question]:
        """Read and check every row.

        Raises:
            UserError: when the file is missing, or naming the file, row and column of a missing,
                empty or repeated value.
        """
        return read_questions(
            open_table(self.path, self.root, self.subset, self.split), self.layout
        )
