r"""The embedded world: six arithmetic families x four levels, generated on demand.

Each question has a short scratchpad and one integer answer. It belongs to exactly one split, by a
hash of its canonical form (27+45 and 45+27 are one question), so the splits are disjoint by
construction. Operands are drawn so that no constant answer is right in 2 % of any family and level.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import UserError
from ..questions import Question
from ..seeding import hash_seed

Split = Literal["held_out", "validation", "pool", "warm_up"]
LEVELS = (1, 2, 3, 4)
_EXHAUSTED = 2_000  # repetitions in a row after which a split counts as exhausted

# Sixteenths of all questions: two held out, one to tune on, five to train by RL, eight to warm up.
_SHARES: dict[Split, int] = {"held_out": 2, "validation": 1, "pool": 5, "warm_up": 8}
_SPLITS: list[Split] = [split for split, share in _SHARES.items() for _ in range(share)]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem, before it becomes a question.

    Attributes:
        family: its family.
        level: 1 (easiest) to 4.
        key: canonical form, equal for problems that are the same up to the order of operands.
        prompt: the text asked.
        scratchpad: intermediate results, before the box.
        answer: the integer answer.
    """

    family: str
    level: int
    key: str
    prompt: str
    scratchpad: str
    answer: int

    @property
    def solution(self) -> str:
        r"""Scratchpad and boxed answer."""
        return f"{self.scratchpad}\\boxed{{{_shown(self.answer)}}}"

    @property
    def split(self) -> Split:
        """The one split that this problem belongs to."""
        return _SPLITS[hash_seed("split", self.family, self.key) % len(_SPLITS)]


# Fixed widths put digits of equal place value at equal distances, which a tiny model needs.
WIDTH = 3
_LIMIT = 10**WIDTH


def _shown(number: int) -> str:
    return f"{number:0{WIDTH}d}"


def _columns(combine: Callable[..., int], *numbers: int) -> str:
    """The digit-wise sums without carrying; the carrying is left to do."""
    rows = zip(*map(_shown, numbers), strict=True)
    return "".join(str(combine(*map(int, digits)) % 10) for digits in rows)


def _digits(rng: random.Random, digits: int) -> int:
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


# Digits of the two operands by level; the first operand alone spreads the answers widely.
_SIZES = {1: (2, 1), 2: (2, 2), 3: (3, 2), 4: (3, 3)}


def _pair(rng: random.Random, level: int) -> tuple[int, int]:
    """Two operands whose sum fits."""
    while True:
        a, b = (_digits(rng, size) for size in _SIZES[level])
        if a + b < _LIMIT:
            return a, b


def _add(rng: random.Random, level: int) -> Problem:
    a, b = _pair(rng, level)
    scratchpad = _columns(lambda x, y: x + y, a, b)
    key = f"{min(a, b)}+{max(a, b)}"
    return Problem("add", level, key, f"{_shown(a)}+{_shown(b)}=?", scratchpad, a + b)


def _subtract(rng: random.Random, level: int) -> Problem:
    answer, b = _pair(rng, level)
    prompt = f"{_shown(answer + b)}-{_shown(b)}=?"
    scratchpad = _columns(lambda x, y: x - y, answer + b, b)
    return Problem("subtract", level, prompt, prompt, scratchpad, answer)


def _multiply(rng: random.Random, level: int) -> Problem:
    digits, highest = {1: (2, 4), 2: (2, 6), 3: (2, 9), 4: (3, 5)}[level]
    while True:
        a, b = _digits(rng, digits), rng.randint(2, highest)
        if a * b < _LIMIT:
            break
    prompt = f"{_shown(a)}*{b}=?"
    scratchpad = _columns(lambda x: x * b, a)
    return Problem("multiply", level, prompt, prompt, scratchpad, a * b)


def _chain(rng: random.Random, level: int) -> Problem:
    a, b = _pair(rng, level)
    c = _digits(rng, 1 if level < 3 else 2)
    key = f"{min(a, b)}+{max(a, b)}-{c}"
    prompt = f"{_shown(a)}+{_shown(b)}-{_shown(c)}=?"
    scratchpad = _columns(lambda x, y: x + y, a, b) + _columns(lambda x, y, z: x + y - z, a, b, c)
    return Problem("chain", level, key, prompt, scratchpad, a + b - c)


def _linear(rng: random.Random, level: int) -> Problem:
    while True:
        x, b = _pair(rng, level)
        a = rng.randint(2, 3 if level < 3 else 4)
        if a * x + b < _LIMIT:
            break
    prompt = f"{a}*x+{_shown(b)}={_shown(a * x + b)},x=?"
    scratchpad = _columns(lambda x, y: x - y, a * x + b, b) + _shown(a * x)
    return Problem("linear", level, prompt, prompt, scratchpad, x)


def _sequence(rng: random.Random, level: int) -> Problem:
    while True:
        start, step = _pair(rng, level)
        if start + 3 * step < _LIMIT:
            break
    shown = [start + i * step for i in range(3)]
    prompt = ",".join(map(_shown, shown)) + ",?"
    scratchpad = _columns(lambda x, y: x - y, shown[2], shown[1]) + _columns(
        lambda x, y: 2 * x - y, shown[2], shown[1]
    )
    return Problem("sequence", level, prompt, prompt, scratchpad, shown[-1] + step)


_Maker = Callable[[random.Random, int], Problem]
FAMILIES: dict[str, _Maker] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "chain": _chain,
    "linear": _linear,
    "sequence": _sequence,
}


def problems(split: Split, seed: int, family: str, level: int) -> Iterator[Problem]:
    """Endless problems of one family and level in one split, with repetitions, by seed.

    Raises:
        UserError: on an unknown split, family or level.
    """
    if split not in get_args(Split):
        raise UserError(f"split must be one of {get_args(Split)}, got {split!r}")
    if family not in FAMILIES:
        raise UserError(f"family must be one of {tuple(FAMILIES)}, got {family!r}")
    if level not in LEVELS:
        raise UserError(f"level must be one of {LEVELS}, got {level}")
    rng = random.Random(hash_seed(seed, split, family, level))
    while True:
        problem = FAMILIES[family](rng, level)
        if problem.split == split:
            yield problem


def distinct(split: Split, count: int, seed: int, family: str, level: int) -> list[Problem]:
    """The first ``count`` different problems of :func:`problems`.

    Raises:
        UserError: when the split holds fewer.
    """
    found: dict[str, Problem] = {}
    repeated = 0
    for problem in problems(split, seed, family, level):
        repeated = repeated + 1 if problem.key in found else 0
        found.setdefault(problem.key, problem)
        if len(found) == count:
            return list(found.values())
        if repeated == _EXHAUSTED:
            break
    raise UserError(
        f"split {split!r} holds about {len(found)} problems of {family} at level {level}, "
        f"fewer than the {count} asked for"
    )


def to_question(problem: Problem) -> Question:
    """Convert to the project's question type."""
    return Question(
        id=f"{problem.family}/{problem.level}/{problem.key}",
        prompt=problem.prompt,
        answer=str(problem.answer),
        tags={
            "level": str(problem.level),
            "family": problem.family,
            "cell": f"{problem.family}/{problem.level}",
        },
    )
