r"""Prompt templates: how a bare question becomes the tokens that a model expects.

A new template is one small class: subclass :class:`Template` and name it in YAML.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

from .errors import UserError

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

    Attributes:
        stop_tokens: tokens that end a completion, besides the tokenizer's eos.
        answer: where it asks for the final answer: in a ``\boxed{}``, or on a last line
            ``Answer:``; None when it does not ask.
    """

    stop_tokens: tuple[str, ...] = ()
    answer: Answer | None = None

    @abstractmethod
    def render(self, question: str, tokenizer: Any) -> str:
        """The prompt as text, special tokens included."""


class Plain(Template):
    """The bare question, nothing else: the embedded world's template.

    Args:
        answer: the form in which the model, or the question itself, gives the final answer without
            being asked here: ``box`` or ``line``; null if that is not known.
    """

    def __init__(self, answer: Answer | None = None) -> None:
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

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn through the tokenizer's own chat template.

        Raises:
            UserError: if the tokenizer has none.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise UserError("model.template: R1 needs a tokenizer with a chat template")
        return _user_turn(f"{question}\n{BOX_INSTRUCTION}", tokenizer)


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
    """DAPO's prompt: asks for a last line ``Answer: $Answer``, twice.

    Args:
        stop_tokens: tokens that end a completion, besides the tokenizer's eos; a base model whose
            chat template closes a turn with another token needs that token here.
    """

    answer = "line"

    def __init__(self, stop_tokens: tuple[str, ...] = ()) -> None:
        self.stop_tokens = tuple(stop_tokens)

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn through the tokenizer's chat template if it has one, else plain text."""
        text = f"{LINE_INSTRUCTION}\n\n{question}\n\n{LINE_REMINDER}"
        if getattr(tokenizer, "chat_template", None):
            return _user_turn(text, tokenizer)
        return f"{text}\n\n"


class Custom(Template):
    """A prompt text of your own.

    Args:
        text: the whole prompt, special tokens included, with ``{question}`` where the question
            goes; other braces stay as they are.
        stop_tokens: tokens that end a completion, besides the tokenizer's eos.
    """

    def __init__(self, text: str, stop_tokens: tuple[str, ...] = ()) -> None:
        if PLACEHOLDER not in text:
            raise UserError(f"model.template: Custom.text needs {PLACEHOLDER} in it, got {text!r}")
        self.text = text
        self.stop_tokens = tuple(stop_tokens)

    def render(self, question: str, tokenizer: Any) -> str:
        """The text with the question in it."""
        return self.text.replace(PLACEHOLDER, question)


def _user_turn(text: str, tokenizer: Any) -> str:
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


class PromptEncoder:
    """A tokenizer with a template.

    Args:
        tokenizer: a Hugging Face tokenizer.
        template: the template.
        max_prompt_tokens: longest prompt that is used.

    Raises:
        UserError: when the tokenizer has no eos, or does not know a stop token of the template.
    """

    def __init__(self, tokenizer: Any, template: Template, max_prompt_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.max_prompt_tokens = max_prompt_tokens
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"model.name: the tokenizer of {tokenizer.name_or_path!r} has no eos token, "
                "so no completion could end; set eos_token in its tokenizer_config.json"
            )
        stop = [tokenizer.eos_token_id]
        known = tokenizer.get_vocab()
        for token in template.stop_tokens:
            if token not in known:
                raise UserError(
                    f"model.template: {type(template).__name__} stops on {token!r}, which the "
                    f"tokenizer of {tokenizer.name_or_path!r} does not have"
                )
            stop.append(known[token])
        self.stop_ids: list[int] = sorted(set(stop))

    def encode(self, question: str) -> list[int] | None:
        """Token ids of the prompt; None when it is longer than ``max_prompt_tokens``."""
        tokens = self.tokens(question)
        return tokens if len(tokens) <= self.max_prompt_tokens else None

    def tokens(self, question: str) -> list[int]:
        """Token ids of the prompt, whatever their number."""
        text = self.template.render(question, self.tokenizer)
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def decode(self, tokens: list[int]) -> str:
        """Completion text without special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)
