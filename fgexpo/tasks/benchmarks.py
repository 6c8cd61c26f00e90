"""Mathematical benchmarks by name, in any layout that a repository ships."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch.utilities import rank_zero_warn

from ..errors import UserError
from ..questions import Question
from .formats import FORMATS
from .rows import Layout, read_questions
from .sources import QuestionSource
from .tables import Table, find_local, local_table, open_table

Name = Literal["aime24", "aime25", "amc23", "amc83", "math500", "minerva", "olympiadbench"]

# In order of preference: some files hold several of these columns.
_PROMPTS = ("problem", "question", "Problem", "prompt")
_ANSWERS = ("answer", "Answer", "final_answer", "reward_model.ground_truth")
_IDS = ("id", "ID", "unique_id", "idx", "extra_info.id", "extra_info.index")
_SOLUTION = "solution"


@dataclass(frozen=True)
class Entry:
    """The known facts about a benchmark.

    Attributes:
        count: its number of questions.
        hub: a hub id with that many.
        split: the hub's split.
        stems: names of files, without their suffix, and of folders.
        tags: columns to break results down by, if a layout has them.
        relative_error: allowed for its numeric answers.
        error: column of each answer's absolute error, if a layout has it.
    """

    count: int
    hub: str
    split: str
    stems: tuple[str, ...]
    tags: tuple[str, ...] = ()
    relative_error: float = 0.0
    error: str | None = None


ENTRIES: dict[Name, Entry] = {
    "aime24": Entry(30, "HuggingFaceH4/aime_2024", "train", ("aime24", "aime_2024")),
    "aime25": Entry(30, "math-ai/aime25", "test", ("aime25", "aime_2025")),
    "amc23": Entry(40, "math-ai/amc23", "test", ("amc23",)),
    # AMC 12 of 2022 and 2023: the questions whose answers are integers.
    "amc83": Entry(83, "AI-MO/aimo-validation-amc", "train", ("amc2022_2023_83", "amc83")),
    "math500": Entry(
        500, "HuggingFaceH4/MATH-500", "test", ("math500", "math_500"), tags=("level", "subject")
    ),
    # Measured quantities, which Qwen2.5-Math's evaluation (evaluation/grader.py, numeric_equal)
    # treats as equal up to this share, as do the results reported on this set.
    "minerva": Entry(
        272,
        "math-ai/minervamath",
        "test",
        ("minerva_math", "minerva", "minervamath"),
        tags=("type",),
        relative_error=1e-4,
    ),
    # As Qwen2.5-Math ships it; the authors' own OE_TO_maths_en_COMP on the hub has one fewer.
    "olympiadbench": Entry(
        675,
        "zwhe99/simplerl-OlympiadBench",
        "test",
        ("olympiadbench", "olympiad_bench"),
        tags=("subfield",),
        error="error",
    ),
}


class Benchmark(QuestionSource):
    """A benchmark by its name.

    It is read from ``path`` if given, else from the file or folder of its name under the data
    module's ``root`` if there is one, else from the Hugging Face Hub. Columns are found by their
    names.

    Args:
        name: aime24, aime25, amc23 (40 questions), amc83 (2022 and 2023), math500, minerva or
            olympiadbench.
        path: a file, a folder or a hub id to read instead.
    """

    def __init__(self, name: Name, path: str | None = None) -> None:
        if name not in ENTRIES:
            raise UserError(f"Benchmark.name must be one of {get_args(Name)}, got {name!r}")
        self.name: Name = name
        self.path = path

    @property
    def quick(self) -> bool:
        """If the file is on this machine."""
        entry = ENTRIES[self.name]
        if self.path is None and self._named(entry) is not None:
            return True
        return find_local(self.path or entry.hub, self.root) is not None

    def questions(self) -> list[Question]:
        """Every question; warn if their number is not the benchmark's.

        Raises:
            UserError: when there is no such file, or naming the file, row and column of a
                missing, empty or repeated value.
        """
        entry = ENTRIES[self.name]
        table = self._table(entry)
        found = read_questions(table, layout_of(table, entry))
        if len(found) != entry.count:
            rank_zero_warn(
                f"{table.name} has {len(found)} questions, but benchmark {self.name} has "
                f"{entry.count}: results are not comparable with others'"
            )
        return found

    def _table(self, entry: Entry) -> Table:
        if self.path is not None:
            return open_table(self.path, self.root)
        named = self._named(entry)
        if named is not None:
            return local_table(named)
        return open_table(entry.hub, self.root, split=entry.split)

    def _named(self, entry: Entry) -> Path | None:
        """The file or folder of its name under the root, if there is one."""
        if self.root is None:
            return None
        folder = Path(self.root).expanduser()
        names = [f"{stem}{suffix}" for stem in entry.stems for suffix in (*FORMATS, "")]
        return next((path for name in names if (path := folder / name).exists()), None)


def layout_of(table: Table, entry: Entry) -> Layout:
    """Find out which columns hold what.

    Raises:
        UserError: when there is no column of questions or of answers.
    """
    nested = [path for path in (*_ANSWERS, *_IDS) if path.partition(".")[0] in table.columns]
    first: dict[str, Any] = next(table.rows(nested), {})

    def find(paths: tuple[str, ...]) -> str | None:
        held = (p for p in paths if p in table.columns or table.value(first, p) is not None)
        return next(held, None)

    prompt, answer = find(_PROMPTS), find(_ANSWERS)
    boxed = answer is None and _SOLUTION in table.columns
    for what, path in ((_PROMPTS, prompt), ((*_ANSWERS, _SOLUTION), answer or boxed or None)):
        if path is None:
            raise UserError(
                f"{table.name}: expected one of the columns {', '.join(what)}; it has "
                f"{', '.join(table.columns) or 'none'}"
            )
    assert prompt is not None
    return Layout(
        prompt,
        answer or _SOLUTION,
        find(_IDS),
        tuple(tag for tag in entry.tags if tag in table.columns),
        boxed,
        entry.error if entry.error in table.columns else None,
        entry.relative_error,
    )
