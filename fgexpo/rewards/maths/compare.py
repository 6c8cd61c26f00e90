"""Is an answer equal to the gold one? Compares strings and numbers; math-verify does the rest."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

from .closed_form import is_finished, is_value, stated
from .forms import same_form, same_in_base
from .guards import MAX_CHARACTERS, is_hostile
from .lists import is_list, items, joined, parts_agree, same_numbers, spaced
from .normalise import as_number, key, normalise, split
from .percent import readings
from .prose import as_word, is_prose
from .sequences import has_ellipsis, paired
from .units import differ

# math-verify rounds to six decimals, so it calls 1e-8 and 2e-8 equal.
SAME_DIGITS = 1e-4


@dataclass(frozen=True, slots=True)
class Pair:
    """A gold answer, an answer, and how far a number may be off.

    Attributes:
        gold: the gold answer.
        answer: the completion's answer.
        relative: error allowed, as a share of the gold number.
        absolute: error allowed; either is enough.
        copied: the answer is a formula of the question, so it must be written as the gold one is.
    """

    gold: str
    answer: str
    relative: float = 0.0
    absolute: float = 0.0
    copied: bool = False


def fast_equal(pair: Pair) -> bool | None:
    """Decide the easy cases without a parser; None means that a parser is needed."""
    hostile = is_hostile(pair.answer)
    if not pair.answer.strip() or hostile == "length" or len(pair.gold) > MAX_CHARACTERS:
        return False
    return _fast_equal(pair, hostile)


# Training repeats questions, and their answers.
@lru_cache(maxsize=2**14)
def _fast_equal(pair: Pair, hostile: str | None) -> bool | None:
    one_number = not is_list(pair.gold)
    if key(pair.gold, one_number) == key(pair.answer, one_number):
        return not differ(split(pair.gold)[1], split(pair.answer)[1])
    if pair.copied or hostile or is_hostile(pair.gold):
        return False
    decided = {_decided(sides, pair) for sides in _sides(pair)}
    return True if True in decided else None if None in decided else False


def _sides(pair: Pair) -> list[tuple[str, str]]:
    """What to compare, in normal form: a chain says its last member, and a percent sign is read."""
    one_number = not is_list(pair.gold)
    gold, answer = normalise(pair.gold, one_number), normalise(pair.answer, one_number)
    if one_number and is_value(gold):
        gold, answer = (normalise(stated(text), one_number) for text in (gold, answer))
    if not one_number:
        answer = joined(answer)
    return readings(gold, answer) if "%" in gold + answer else [(gold, answer)]


def _decided(sides: tuple[str, str], pair: Pair) -> bool | None:
    """Whether the sides are equal, as far as can be told without a parser."""
    gold, answer = sides
    numbers = as_number(gold), as_number(answer)
    if numbers[0] is not None and numbers[1] is not None:
        if pair.relative or pair.absolute:
            return within(*numbers, pair)
        return numbers[0] == numbers[1]
    word = as_word(pair.gold, gold)
    if word is not None:
        return word == " ".join(answer.split()).lower()
    if not same_form(gold, answer) or parts_agree(gold, answer) is None:
        return False
    based = same_in_base(gold, answer)
    if based is not None:
        return based
    if is_prose(gold, answer) or not is_finished(gold, answer):
        return False
    if has_ellipsis(gold) or has_ellipsis(answer):
        return False if paired(gold, answer) is None else None
    return None


def within(gold: Any, answer: Any, pair: Pair) -> bool:
    """Whether two numbers differ by at most what the pair allows."""
    error = abs(gold - answer)
    if isinstance(gold, Fraction):
        return error <= Fraction(pair.relative) * abs(gold) or error <= Fraction(pair.absolute)
    return bool(error <= pair.relative * abs(gold) or error <= pair.absolute)


def symbolic_equal(pair: Pair) -> bool:
    """Ask math-verify; slow, memory-hungry or endless on hostile input, so run it in a worker."""
    return any(_symbolic(sides, pair) for sides in _sides(pair))


def _symbolic(sides: tuple[str, str], pair: Pair) -> bool:
    from math_verify import verify

    if has_ellipsis(sides[0]):
        parts = paired(*sides) or []
        return all(symbolic_equal(replace(pair, gold=g, answer=a)) for g, a in parts)
    if is_list(pair.gold):
        sides = spaced(sides[0]), spaced(sides[1])
    gold, answer = map(_parsed, parts_agree(*sides) or sides)
    # The worker's parent enforces the deadline, so math-verify's own alarms stay off.
    equal = bool(verify(gold, answer, timeout_seconds=None))  # pyright: ignore[reportArgumentType]
    numbers = _number(gold), _number(answer)
    if None not in numbers:
        if pair.relative or pair.absolute:
            return equal or within(*numbers, pair)
        return equal and _same_digits(*numbers)
    if not equal and (pair.relative or pair.absolute):
        return _parts_within(items(sides[0]), items(sides[1]), pair)
    return equal and same_numbers(*sides) is not False


def _parts_within(golds: list[str], answers: list[str], pair: Pair) -> bool:
    """Whether the parts of two lists agree, each within what the pair allows."""
    if len(golds) != len(answers) or len(golds) < 2:
        return False
    parts = (replace(pair, gold=g, answer=a) for g, a in zip(golds, answers, strict=True))
    return all(symbolic_equal(part) for part in parts)


@lru_cache(maxsize=4096)
def _parsed(answer: str) -> list[Any]:
    # Boxed: bare LaTeX golds fail against themselves in a third of the benchmarks' cases.
    from math_verify import parse

    return parse(rf"\boxed{{{answer}}}", parsing_timeout=None)  # pyright: ignore[reportArgumentType]


def _number(parsed: list[Any]) -> Any:
    """The value as a sympy number of 30 digits, if what was parsed is a real one."""
    first: Any = parsed[0] if parsed else None
    if not getattr(first, "is_number", False) or not getattr(first, "is_real", False):
        return None
    value = first.evalf(30)
    return value if value.is_Float or value.is_Integer else None


def _same_digits(gold: Any, answer: Any) -> bool:
    return bool(abs(gold - answer) <= SAME_DIGITS * max(abs(gold), abs(answer)))
