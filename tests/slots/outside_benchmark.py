"""A benchmark: questions with a gold answer each."""

from fgexpo.questions import Question
from fgexpo.tasks import QuestionSource


class Squares(QuestionSource):
    """The squares of the first numbers.

    Args:
        count: how many.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def questions(self) -> list[Question]:
        """``n*n``, as the arithmetic world would write it."""
        return [Question(f"square-{n}", f"{n}*{n}", str(n * n)) for n in range(self.count)]
