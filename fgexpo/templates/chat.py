"""The tokenizer's own chat template: one user turn, and what it writes at the end of an answer."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import UserError
from ..outside import reading

# Processor time, so that a busy machine does not count. A template needs about a millisecond.
SECONDS = 3.0
_QUESTION = "What is 4021 + 5387?"
_ANSWER = "The sum of 4021 and 5387 is 9408."


def has_chat(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def user_turn(text: str, tokenizer: Any) -> str:
    """The prompt of one user turn, up to the opening of the answer.

    Raises:
        UserError: when the template fails, or does not end.
    """
    return _render([{"role": "user", "content": text}], tokenizer, True)


def check_chat(tokenizer: Any) -> None:
    """Check that the chat template renders a question.

    Raises:
        UserError: when it fails, does not end, or leaves the question out, as templates do that
            want its content in parts.
    """
    if _QUESTION not in user_turn(_QUESTION, tokenizer):
        raise UserError(
            f"model.name: the chat template of {tokenizer.name_or_path!r} leaves out the text of a "
            "user's message; give a template of your own, model.template=Custom"
        )


def turn_end(tokenizer: Any) -> str:
    """What the chat template writes after an answer, such as ``<|im_end|>`` and a line break.

    Found by rendering a known answer. Empty without a chat template, or if it cannot write answers.

    Raises:
        UserError: when the template does not end.
    """
    if not has_chat(tokenizer):
        return ""
    turns = [
        {"role": "user", "content": _QUESTION},
        {"role": "assistant", "content": _ANSWER},
    ]
    try:
        text = _render(turns, tokenizer, False)
    except _DoesNotEnd:
        raise
    except UserError:
        return ""  # a template for questions alone; prompts, which it must write, are checked
    _, answer, end = text.rpartition(_ANSWER)
    return end if answer else ""


class _DoesNotEnd(UserError):
    """The template does not end."""


def _render(messages: list[dict[str, str]], tokenizer: Any, answer_follows: bool) -> str:
    name = tokenizer.name_or_path
    what = "a tokenizer whose chat template renders a message"
    with reading(name, what, "model.name"), _deadline(name):
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer_follows
        )


@contextmanager
def _deadline(name: str) -> Iterator[None]:
    """End a template that loops for ever. Only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _DoesNotEnd(
            f"model.name: the chat template of {name!r} did not end in {SECONDS:g} seconds of "
            "processor time; does it loop for ever?"
        )

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
