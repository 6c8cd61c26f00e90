"""DAPO-Math-17k: about 1.79 M rows on the hub, in which each of 17,398 questions occurs ~100 times.

The rows wrap the question in a first paragraph, which asks for a last line ``Answer: $Answer``, and
a last one, which repeats that. Both are removed here, so that a template can ask in its own way.
"""

import hashlib
from collections import Counter

from lightning.pytorch.utilities import rank_zero_info

from ..errors import UserError
from ..questions import Question
from .rows import cell_text
from .sources import QuestionSource
from .tables import Table, find_local, open_table

_ASKS, _REMINDS = "Answer: $Answer", '"Answer:"'


class DapoMath17k(QuestionSource):
    """DAPO-Math-17k, each question once.

    Both layouts on the hub are read, and told apart by their columns: the raw one, with the answer
    in ``reward_model.ground_truth``, and ``open-r1/DAPO-Math-17k-Processed``, with the answer in
    ``solution``. If copies of a question disagree, the most frequent answer is taken.
    A question's id is a hash of its text, whatever the layout and the order.

    Args:
        path: a hub id, or a local file or folder.
        subset: the hub's configuration: all, en or cn of the processed layout.
        split: the hub's split.
    """

    def __init__(
        self,
        path: str = "BytedTsinghua-SIA/DAPO-Math-17k",
        subset: str | None = None,
        split: str | None = "train",
    ) -> None:
        self.path = path
        self.subset = subset
        self.split = split

    @property
    def quick(self) -> bool:
        """If the file is on this machine."""
        return find_local(self.path, self.root) is not None

    def questions(self) -> list[Question]:
        """Every question once, in the order of first rows; print a report of what was merged.

        Raises:
            UserError: when there is no such file, or naming the file, row and column of a missing
                or empty value.
        """
        table = open_table(self.path, self.root, self.subset, self.split)
        answers, rows, bare = _answers(table)
        conflicts = sum(len(given) > 1 for given in answers.values())
        rank_zero_info(
            f"{table.name}: {rows:,} rows, {len(answers):,} questions, {conflicts:,} of them with "
            f"conflicting answers; {bare:,} rows do not wrap their question"
        )
        # In a tie, max takes the answer seen first.
        return [
            Question(question_id(text), text, max(given, key=given.__getitem__), file=table.name)
            for text, given in answers.items()
        ]


def unwrap(text: str) -> tuple[str, bool]:
    """Remove the first and last paragraphs if they describe the answer's form.

    Returns:
        The question, and whether both were there.
    """
    text = text.strip()
    first, gap, rest = text.partition("\n\n")
    asks = bool(gap) and _ASKS in first
    text = rest if asks else text
    rest, gap, last = text.rpartition("\n\n")
    reminds = bool(gap) and _REMINDS in last
    return (rest if reminds else text).strip(), asks and reminds


def question_id(question: str) -> str:
    """A short hash of the bare question."""
    return hashlib.blake2b(question.encode(), digest_size=8).hexdigest()


def _answers(table: Table) -> tuple[dict[str, Counter[str]], int, int]:
    """Counts of each question's answers, of the rows, and of rows without wrapping."""
    if "solution" in table.columns:
        answer_path = "solution"
    elif "reward_model" in table.columns:
        answer_path = "reward_model.ground_truth"
    else:
        raise UserError(
            f"{table.name}: expected the columns prompt and reward_model, or prompt and solution; "
            f"it has {', '.join(table.columns) or 'none'}"
        )
    known: dict[str, tuple[Counter[str], bool]] = {}  # by the wrapped text, to unwrap it once
    answers: dict[str, Counter[str]] = {}
    rows = bare = 0
    for row in table.rows(["prompt", answer_path]):
        prompt = cell_text(table, rows, row, "prompt", asks=True)
        if prompt not in known:
            question, wrapped = unwrap(prompt)
            if not question:
                raise UserError(f"{table.name}: row {rows} has no question in its 'prompt'")
            known[prompt] = answers.setdefault(question, Counter()), wrapped
        given, wrapped = known[prompt]
        answer = cell_text(table, rows, row, answer_path).strip()
        if not answer:
            raise UserError(f"{table.name}: row {rows} has an empty {answer_path!r}")
        given[answer] += 1
        rows += 1
        bare += not wrapped
    return answers, rows, bare
