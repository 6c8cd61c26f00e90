r"""The rule for unfinished answers: the gold answer's form decides what may be left to compute.

A gold answer that is a value (``26000``, ``\frac{1}{2}``, ``3\sqrt{13}``) asks for a value.
Integers, decimals, fractions, mixed numbers and scientific notation always are values. Roots, pi,
e, i, logarithms, powers and so on are only where the gold has them, and no more sums may be left
than it leaves. So ``513^2 - 487^2`` is not 26000's answer, nor ``\binom{31}{28}`` that of 4495.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from .lists import inside, items

_TOKEN = re.compile(
    r"\d+\.?\d*|\.\d+|\\(?:begin|end)\s*\{\w+\}(?:\s*\{[clr|]+\})?|\\[A-Za-z]+|\\.|[A-Za-z]+|\S"
)
_NUMBER = re.compile(r"[\d.]+")
# Rows and columns of a matrix are parts of an answer, as those of a list are.
_PARTS = re.compile(r"\\\\|&|;")
_APPROXIMATELY = re.compile(r"\\(?:approx|doteq)(?![A-Za-z])|≈")
_ROOT_EXPONENT = re.compile(
    r"[-+({\s]*(?:\d+\s*/\s*\d+|\\frac\s*(?:\d|\{\s*-?\d+\s*\})\s*(?:\d|\{\d+\}))"
)
_PLAIN_EXPONENT = re.compile(r"\s*(?:\{\s*[-+]?\d+\s*\}|\d)")
# What may stand before a value: k, x_1, f(2), |AB|, A:B.
_NAME = re.compile(r"[A-Za-z\\\s|:'${}]*(?:_\s?\{?\w+\s?\}?)?\s*(?:\([\w, -]*\))?[\s|]*")
_RELATION = re.compile(r"[<>≤≥≠]|!=|\\(?:l|g)(?:t|eq?)?(?:slant)?(?![A-Za-z])|\\neq?(?![A-Za-z])")
_BOUND = re.compile(r"\\(?:lim|sum|prod|int)(?![A-Za-z])")
_SIGNED = re.compile(r"\s*(?:[-+±<>≤≥]|\\(?:pm|mp|leq?|geq?)(?![A-Za-z]))")
_EQUALS = re.compile(r"(?<![<>!:])=")
_GREEK = re.compile(
    r"\\(?:var)?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho"
    r"|sigma|tau|upsilon|phi|chi|psi|omega)|\\(?:hbar|ell)",
    re.IGNORECASE,
)

_KINDS = {
    "\\sqrt": "root",
    "√": "root",
    "\\pi": "pi",
    "π": "pi",
    "e": "e",
    "\\exp": "e",
    "i": "i",
    "\\log": "log",
    "\\ln": "log",
    "\\lg": "log",
    "!": "factorial",
    "\\binom": "binomial",
    "\\dbinom": "binomial",
    "\\tbinom": "binomial",
    "\\choose": "binomial",
}
_TRIGONOMETRIC = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?")
_IRRATIONAL = {"root", "pi", "e", "i", "log", "trigonometric"}
_UNDONE = {"power", "product", "factor"}
# Kinds that an answer may have as well where the gold has the first.
_BESIDE = {
    "i": {"e", "pi", "trigonometric"},
    "e": {"log"},
    "log": {"e", "base"},
    "trigonometric": {"pi", "root"},
    **dict.fromkeys(_UNDONE, _UNDONE),
    "root": {"factor"},
    "pi": {"factor"},
}
_LAYOUT = set("{}()[],.;:%&'$+-/^_ ") | {
    *(
        "\\frac",
        "\\left",
        "\\right",
        "\\{",
        "\\}",
        "\\,",
        "\\ ",
        "\\;",
        "\\:",
        "\\!",
        "\\quad",
        "\\qquad",
    ),
    *(
        "\\infty",
        "\\cup",
        "\\cap",
        "\\in",
        "\\pm",
        "\\mp",
        "\\text",
        "\\mathrm",
        "\\mbox",
        "\\textbf",
        "\\textnormal",
    ),
    *("\\displaystyle", "\\$", "\\%", "\\circ", "\\dots", "\\ldots", "\\cdots", "\\mathbf", "\\rm"),
}
_OPENING = {"(", "[", "{", "\\{", "\\frac", "\\sqrt", "\\left"}
_CLOSING = {")", "]", "}", "\\}"}
_PRODUCTS = {"\\cdot", "\\times", "*", "\u00d7", "\u00b7", "\\ast"}


@dataclass(frozen=True, slots=True)
class Form:
    """How one part of an answer is written.

    Attributes:
        kinds: what it has besides integers, decimals and one fraction.
        sums: its binary plus and minus signs.
        divisions: its fractions and quotients.
        digits: of its longest number.
        named: whether it has a variable or words.
    """

    kinds: frozenset[str]
    sums: int
    divisions: int
    digits: int
    named: bool


def is_finished(gold: str, answer: str) -> bool:
    """Whether the answer leaves no more to compute than the gold answer; both in normal form."""
    if not is_value(gold):
        return True
    golds = forms(gold)
    # 26000x/x has a variable; x > 5 and x \in [0,1] have one as well, and say a set.
    in_set = _RELATION.search(answer) or "\\in" in answer
    return all(allowed(form, golds) and (in_set or not form.named) for form in forms(answer))


def allowed(answer: Form, golds: list[Form]) -> bool:
    """Whether one part of an answer has a form that the parts of the gold answer call for."""
    kinds = frozenset[str]().union(*(gold.kinds for gold in golds))
    beside = kinds.union(*(_BESIDE.get(kind, set()) for kind in kinds))
    inexact = bool(kinds & _IRRATIONAL)
    sums = max(gold.sums for gold in golds)
    if kinds & {"log", "trigonometric", "i"}:
        sums = max(sums, 1)
    divisions = max(2 if inexact else 1, *(gold.divisions for gold in golds))
    fits = answer.kinds <= beside and answer.sums <= sums and answer.divisions <= divisions
    return fits or _is_small(answer)


def stated(text: str) -> str:
    r"""What a chain says at its end: ``513^2 - 487^2 = 26000`` says 26000.

    ``x = 1/3 \approx 0.33`` says 1/3. An equation in a variable, as ``2x = 6``, states no
    value and stays as it is.
    """
    exact = _APPROXIMATELY.split(text)
    if len(exact) > 1:
        text = next((part for part in exact if re.search(r"\d", part)), text)
    *before, last = _EQUALS.split(text)
    solved = not any(_is_equation(part) for part in before)
    return last.strip() if solved and last.strip() else text


def _is_equation(left: str) -> bool:
    if not _form(left).named or _BOUND.search(left):
        return False
    return bool(re.search(r"\d", left) or _SIGNED.match(left))


# Gold answers repeat, and so do guesses.
@lru_cache(maxsize=2**13)
def forms(text: str) -> list[Form]:
    """The form of each part of a list, a tuple or a matrix."""
    return [_form(stated(part)) for part in _parts(text)]


def _parts(text: str) -> list[str]:
    return [part for item in items(inside(text)) for part in _PARTS.split(item)]


@lru_cache(maxsize=2**13)
def is_value(gold: str) -> bool:
    """Whether a gold answer's parts are numbers, perhaps after a name, without a variable."""
    parts = [_EQUALS.split(part) for part in _parts(gold)]
    if any(not _NAME.fullmatch(member) for part in parts for member in part[:-1]):
        return False
    return not _RELATION.search(gold) and not any(form.named for form in forms(gold))


def _is_small(form: Form) -> bool:
    r"""One step that hides nothing: a sum of one-digit numbers, a root of a two-digit one."""
    if form.kinds == {"root"}:
        return form.sums == form.divisions == 0 and form.digits <= 2
    steps = form.sums + len(form.kinds)
    return form.kinds <= {"matrices"} and steps == 1 and form.divisions == 0 and form.digits <= 1


def _form(text: str) -> Form:
    tokens = [(match.group(), match.end()) for match in _TOKEN.finditer(text)]
    kinds: set[str] = set()
    sums = divisions = digits = 0
    named = False
    before = ""
    for place, (token, end) in enumerate(tokens):
        after = tokens[place + 1][0] if place + 1 < len(tokens) else ""
        operand = bool(before) and before not in _OPENING and before not in "+-*/^_,=:"
        if token[0].isdigit() or token[0] == ".":
            digits = max(digits, sum(c.isdigit() for c in token))
            if before in (")", "\\}"):
                kinds.add("factor")
        elif token in "+-" or token in ("\\pm", "\\mp"):
            sums += operand
        elif token in ("/", "\\frac"):
            divisions += 1
        elif token in _PRODUCTS:
            tens = after == "10" and text[end:].lstrip()[2:].lstrip().startswith("^")
            if not tens and _rational(before) and _rational(after):
                kinds.add("product")
        elif token == "^":
            kinds |= _power(before, text[end:])
        elif token in _KINDS:
            kinds.add(_KINDS[token])
        elif _TRIGONOMETRIC.fullmatch(token):
            kinds.add("trigonometric")
        elif token.startswith("\\begin"):
            if before.startswith("\\end"):
                kinds.add("matrices")
        elif token == "(":
            if _ends(before) or _NUMBER.fullmatch(before):
                kinds.add("factor")
        elif token == "_":
            kinds.add("base")
        elif token.isalpha() or _GREEK.fullmatch(token):
            named = True
        elif token.startswith("\\end") or token in _LAYOUT:
            pass
        else:
            kinds.add(token)
        before = token
    return Form(frozenset(kinds), sums, divisions, digits, named)


def _power(base: str, rest: str) -> set[str]:
    """The kinds that a power adds; powers of ten, and of pi or e, add none."""
    if _ROOT_EXPONENT.match(rest):
        return {"root"}
    if base == "10" and _PLAIN_EXPONENT.match(rest):
        return set()
    return {"power"} if _rational(base) else set()


def _rational(token: str) -> bool:
    return bool(token) and (bool(_NUMBER.fullmatch(token)) or token in "()}" or token == "\\frac")


def _ends(token: str) -> bool:
    return token in _CLOSING or token.startswith("\\end")
