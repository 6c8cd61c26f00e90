"""Is an answer equal to the gold one? Strings and integers here, the rest by math-verify."""

import re

MAX_ANSWER_CHARACTERS = 1000
_INTEGER = re.compile(r"[+-]?\d{1,30}")


def fast_equal(gold: str, answer: str) -> bool | None:
    """Decide the easy cases without a parser; None means that a parser is needed."""
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return False
    gold, answer = _plain(gold), _plain(answer)
    if not answer:
        return False
    if gold == answer:
        return True
    if _INTEGER.fullmatch(gold) and _INTEGER.fullmatch(answer):
        return int(gold) == int(answer)
    return None


def symbolic_equal(gold: str, answer: str) -> bool:
    """Ask math-verify; slow, memory-hungry or endless on hostile input, so run it in a worker."""
    from math_verify import parse, verify

    # Both are boxed: bare LaTeX golds fail against themselves in a third of the benchmarks' cases.
    # The worker's parent holds the deadline, so math-verify's own alarms stay off.
    gold_parsed = parse(rf"\boxed{{{gold}}}", parsing_timeout=None)  # pyright: ignore[reportArgumentType]
    answer_parsed = parse(rf"\boxed{{{answer}}}", parsing_timeout=None)  # pyright: ignore[reportArgumentType]
    return bool(verify(gold_parsed, answer_parsed, timeout_seconds=None))  # pyright: ignore[reportArgumentType]


def _plain(text: str) -> str:
    text = text.strip().strip("$").strip().rstrip(".").replace("\\,", "").replace("\\!", "")
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
