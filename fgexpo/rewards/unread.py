"""Answers that are right but that the verifier does not read: said once, with figures."""

import re
from collections.abc import Sequence

from ..questions import Question, Verdict
from .maths.extract import last_boxed
from .maths.normalise import as_number

# Shares of all completions below which nothing is said; a completion may end in the right number by
# accident, and a policy learns the form of answer as long as it is read now and then.
LEAST_UNREAD, LEAST_RIGHT = 0.05, 0.25
_FORMS = {"box": "box", "line": "line `Answer: ...`", "answer_tag": "<answer> tag"}
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


def unread(
    questions: Sequence[Question], texts: Sequence[str], verdicts: Sequence[Verdict]
) -> tuple[int, int, int, int]:
    """Count completions: all, right, without an answer, and of those the ones that end right.

    A completion ends right if its last number is the gold answer's value.

    Args:
        questions: what each completion answers.
        texts: the completions.
        verdicts: the verifier's.
    """
    missing = [n for n, verdict in enumerate(verdicts) if verdict.answer is None]
    return (
        len(texts),
        sum(bool(verdict.correct) for verdict in verdicts),
        len(missing),
        sum(_ends_right(questions[n], texts[n]) for n in missing),
    )


def unread_warning(reads: str, counts: Sequence[float]) -> str | None:
    """What to say of such counts, over all processes; None while all is well.

    Args:
        reads: what the verifier reads.
        counts: as :func:`unread` gives them, at least one completion.
    """
    total, right, missing, unread_right = counts
    if unread_right < max(LEAST_UNREAD * total, LEAST_RIGHT * right, 1):
        return None
    form = _FORMS.get(reads, f"answer that {reads!r} finds")
    return (
        f"warning: {missing / total:.0%} of completions have no {form}; "
        f"{unread_right / total:.0%} end in the right number without one and count as wrong; "
        "see model.verifier.reads and model.template"
    )


def _ends_right(question: Question, text: str) -> bool:
    numbers = _NUMBER.findall(text)
    if not numbers:
        return False
    gold = as_number(last_boxed(question.answer) or question.answer.strip())
    return gold is not None and as_number(numbers[-1].replace(",", "")) == gold
