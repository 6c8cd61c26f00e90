"""Keep a scorer that evaluates an answer from running code that the answer holds.

Some scorers of reasoning-gym call Python's ``eval`` or sympy's ``parse_expr``, which calls it too.
A policy that is rewarded by them would in time find out. Both get an ``eval`` here that takes
numbers, containers and arithmetic, and of sympy its functions of numbers alone. Beside that, while
a scorer runs, the process may neither write a file nor start a program nor open a connection.
"""

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_PLAIN = (
    *(ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Load),
    *(ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop),
)
# Of the rest of sympy's functions, some evaluate text or print.
_FUNCTIONS = {"sqrt", "cbrt", "root", "real_root"}
_TAKES_TEXT = {"Symbol", "Integer", "Float", "Rational", "Function"}
_FORBIDDEN = (
    *("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "tempfile.", "signal.", "mmap."),
    *("fcntl.", "pty.", "webbrowser.", "urllib.", "http.", "ftplib.", "smtplib.", "sqlite3."),
    *("resource.", "sys._getframe", "sys.addaudithook", "sys.set", "gc.", "code.__new__"),
)
_HARMLESS = ("os.listdir", "os.scandir", "os.walk")  # an import looks for its file
_WRITES = 0o3 | 0o100 | 0o1000 | 0o2000  # O_WRONLY | O_RDWR, O_CREAT, O_TRUNC, O_APPEND
# Longer texts and higher powers take a parser or an evaluation beyond any deadline.
_LONGEST, _HIGHEST = 2_000, 1_000
_scoring = False


class Refused(ValueError):
    """An answer that holds code."""


def check_plain(source: str) -> None:
    """Check that Python text is numbers, texts, containers and arithmetic.

    Raises:
        Refused: for anything else.
    """
    for node in _nodes(source):
        if not isinstance(node, _PLAIN):
            raise Refused(f"an answer holds code ({type(node).__name__})")


def check_sympy(source: str, known: Mapping[str, Any]) -> None:
    """Check that the Python text that sympy has made of an expression is about numbers only.

    Args:
        source: what sympy would evaluate.
        known: the names that it may use.

    Raises:
        Refused: for anything that is no number, symbol or function of them.
    """
    from sympy import Basic

    for node in _nodes(source):
        if isinstance(node, ast.Name):
            value = known.get(node.id)
            is_class = isinstance(value, type) and issubclass(value, Basic)
            if not (is_class or isinstance(value, Basic) or node.id in _FUNCTIONS):
                raise Refused(f"an answer holds code ({node.id})")
        elif isinstance(node, ast.Call):
            of = node.func.id if isinstance(node.func, ast.Name) else None
            texts = [a for a in node.args if _is_text(a)]
            if texts and of not in _TAKES_TEXT:
                raise Refused("an answer holds text within an expression")
        elif not isinstance(node, (*_PLAIN, ast.keyword)):
            raise Refused(f"an answer holds code ({type(node).__name__})")


def _nodes(source: str) -> Iterator[ast.AST]:
    """What the text is made of; without powers and factorials that cannot be computed."""
    for node in ast.walk(ast.parse(source.strip(), mode="eval")):
        for inner in ast.walk(_raised(node)):
            if isinstance(getattr(inner, "op", None), ast.Pow):
                raise Refused("an answer holds a tower of powers")
            if isinstance(inner, ast.Constant) and _is_high(inner.value):
                raise Refused("an answer holds a power or factorial that is too high")
        yield node


def _raised(node: ast.AST) -> ast.AST:
    """What makes the result of a power or factorial long; nothing for other nodes."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return node.right
    if isinstance(node, ast.Call) and "factorial" in ast.dump(node.func):
        return node
    return ast.Load()


def _is_high(value: Any) -> bool:
    if isinstance(value, str):  # as sympy writes numbers that are no integers
        return len(value) > 20
    return isinstance(value, int | float) and abs(value) > _HIGHEST


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def guard_evaluation() -> None:
    """Give sympy and the loaded modules of reasoning-gym an ``eval`` that runs no code."""
    from sympy.parsing import sympy_parser

    evaluate, stringify = sympy_parser.eval_expr, sympy_parser.stringify_expr

    def text(source: Any, *others: Any) -> str:
        if _scoring and len(source) > _LONGEST:
            raise Refused(f"an answer has more than {_LONGEST} characters")
        return stringify(source, *others)

    def expression(code: Any, local_dict: Any, global_dict: Any) -> Any:
        if _scoring:
            check_sympy(code, {**global_dict, **local_dict})
        return evaluate(code, local_dict, global_dict)

    def plain(source: Any, *scopes: Any) -> Any:
        if _scoring and isinstance(source, str):
            check_plain(source)
        return builtins.eval(source, *scopes)

    sympy_parser.stringify_expr = text
    sympy_parser.eval_expr = expression
    for name, module in list(sys.modules.items()):
        if name.startswith("reasoning_gym"):
            vars(module)["eval"] = plain
    sys.addaudithook(_forbid)


@contextmanager
def scoring() -> Iterator[None]:
    """Forbid what no scorer needs while the block runs."""
    global _scoring
    _scoring = True
    try:
        yield
    finally:
        _scoring = False


def _forbid(event: str, arguments: tuple[Any, ...]) -> None:
    if not _scoring:
        return
    if event == "open":
        flags = arguments[2] if len(arguments) > 2 else 0
        if isinstance(flags, int) and flags & _WRITES:
            raise Refused("an answer opens a file to write it")
    elif event.startswith(_FORBIDDEN) and event not in _HARMLESS:
        raise Refused(f"an answer calls {event}")
