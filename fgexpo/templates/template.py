r"""Prompt templates: how a bare question becomes the tokens that a model expects.

A new template is one small class: subclass :class:`Template` and name it in YAML.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

from ..errors import UserError
from ..questions import is_text
from .chat import check_chat, has_chat, user_turn

BOX_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
# DAPO's prompt (arXiv 2503.14476), verbatim: models that were trained on it know no other.
LINE_INSTRUCTION = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $Answer (without quotes) where $Answer is the answer to the problem."
)
LINE_REMINDER = 'Remember to put your answer on its own line after "Answer:".'
PLACEHOLDER = "{question}"

Answer = Literal["box", "line"]


class Template(ABC):
    r"""Turns a question into prompt text and defines what ends a completion.

    Args:
        stop_tokens: what ends a completion, besides the ends that tokenizer, model and chat
            template know: names of tokens such as ``<|im_end|>``, or text such as ``</answer>``.

    Attributes:
        stop_tokens: the same, after those that every template of the class has.
        answer: where it asks for the final answer: in a ``\boxed{}``, or on a last line
            ``Answer:``; None when it does not ask.
    """

    stop_tokens: tuple[str, ...] = ()
    answer: Answer | None = None

    def __init__(self, stop_tokens: tuple[str, ...] = ()) -> None:
        given = [stop_tokens] if isinstance(stop_tokens, str) else stop_tokens
        if not all(isinstance(text, str) and text and is_text(text) for text in given):
            raise UserError(
                "model.template: stop_tokens must be texts of at least one character, got "
                f"{list(given)!r}"
            )
        self.stop_tokens = (*type(self).stop_tokens, *given)

    def check(self, tokenizer: Any) -> None:  # noqa: B027
        """Check that the template can be used with this tokenizer.

        Raises:
            UserError: naming the setting.
        """

    @abstractmethod
    def render(self, question: str, tokenizer: Any) -> str:
        """The prompt as text, special tokens included."""


class Plain(Template):
    """The bare question, nothing else: the embedded world's template.

    Args:
        answer: the form in which the model, or the question itself, gives the final answer without
            being asked here: ``box`` or ``line``; null if that is not known.
        stop_tokens: see :class:`Template`.
    """

    def __init__(self, stop_tokens: tuple[str, ...] = (), answer: Answer | None = None) -> None:
        super().__init__(stop_tokens)
        if answer not in (None, *get_args(Answer)):
            raise UserError(
                f"model.template.answer must be one of {get_args(Answer)} or null, got {answer!r}"
            )
        self.answer = answer

    def render(self, question: str, tokenizer: Any) -> str:
        """The question itself."""
        return question


class R1(Template):
    r"""DeepSeek-R1-Distill: the model's chat template, no system message, answer in \boxed{}."""

    answer = "box"

    def check(self, tokenizer: Any) -> None:
        """Check that there is a chat template, and that it renders a question."""
        if not has_chat(tokenizer):
            raise UserError("model.template: R1 needs a tokenizer with a chat template")
        check_chat(tokenizer)

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn through the tokenizer's own chat template.

        Raises:
            UserError: if the tokenizer has none, or it fails.
        """
        if not has_chat(tokenizer):
            raise UserError("model.template: R1 needs a tokenizer with a chat template")
        return user_turn(f"{question}\n{BOX_INSTRUCTION}", tokenizer)


class ChatMLBox(Template):
    r"""ChatML with the \boxed{} instruction, for base models such as Qwen3-8B-Base.

    Base models end with either token, so both stop a completion.
    """

    stop_tokens = ("<|im_end|>", "<|endoftext|>")
    answer = "box"

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn, and the opening of the assistant's."""
        user = f"<|im_start|>user\n{question}\n{BOX_INSTRUCTION}<|im_end|>\n"
        return f"{user}<|im_start|>assistant\n"


class AnswerLine(Template):
    """DAPO's prompt: asks for a last line ``Answer: $Answer``, twice."""

    answer = "line"

    def check(self, tokenizer: Any) -> None:
        """Check that a chat template, if there is one, renders a question."""
        if has_chat(tokenizer):
            check_chat(tokenizer)

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn through the tokenizer's chat template if it has one, else plain text."""
        text = f"{LINE_INSTRUCTION}\n\n{question}\n\n{LINE_REMINDER}"
        if has_chat(tokenizer):
            return user_turn(text, tokenizer)
        return f"{text}\n\n"


class Custom(Template):
    """A prompt text of your own.

    Args:
        text: the whole prompt, special tokens included, with ``{question}`` where the question
            goes; other braces stay as they are.
        stop_tokens: see :class:`Template`.
    """

    def __init__(self, text: str, stop_tokens: tuple[str, ...] = ()) -> None:
        super().__init__(stop_tokens)
        if PLACEHOLDER not in text:
            raise UserError(f"model.template: Custom.text needs {PLACEHOLDER} in it, got {text!r}")
        if not is_text(text):
            raise UserError(f"model.template: Custom.text holds half a character: {text!r}")
        self.text = text

    def render(self, question: str, tokenizer: Any) -> str:
        """The text with the question in it."""
        return self.text.replace(PLACEHOLDER, question)
