"""What counts as the answer of a completion, for verifiers that compare texts."""

from collections.abc import Callable
from typing import Literal, get_args

from ..errors import UserError
from .maths.extract import answer_line, last_boxed
from .maths.last_number import last_number

Reads = Literal["first_line", "line", "answer_tag", "box", "last_number", "text"]


def first_line(text: str) -> str | None:
    """The first line that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def last_answer_tag(text: str) -> str | None:
    """What the last ``<answer>...</answer>`` holds."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return text[start + len("<answer>") : end].strip() if start >= 0 else None


def whole_text(text: str) -> str | None:
    """All of it, without the white space around it."""
    return text.strip()


READERS: dict[Reads, Callable[[str], str | None]] = {
    "first_line": first_line,
    "line": answer_line,
    "answer_tag": last_answer_tag,
    "box": last_boxed,
    "last_number": last_number,
    "text": whole_text,
}


def check_reads(reads: str) -> None:
    """Check that a verifier can read like this.

    Raises:
        UserError: naming the setting.
    """
    if reads not in READERS:
        raise UserError(f"model.verifier.reads must be one of {get_args(Reads)}, got {reads!r}")


# How a completion states an answer in each form.
STATED: dict[Reads, str] = {
    "first_line": "{}",
    "line": "Answer: {}",
    "answer_tag": "<answer>{}</answer>",
    "box": r"\boxed{{{}}}",
    "last_number": "{}",
    "text": "{}",
}


def why_unread(reads: Reads, gold: str) -> str | None:
    """Why no completion that is read like this can give this gold answer; None if one can.

    Args:
        reads: how completions are read.
        gold: the gold answer; may be empty where only a scorer knows.
    """
    gold = gold.strip()
    if not gold:
        return None
    read = READERS[reads](STATED[reads].format(gold))
    if read == gold:
        return None
    return f"model.verifier.reads = {reads} would read {'nothing' if read is None else repr(read)}"
