r"""Prompt templates: how a bare question becomes the tokens that a model expects.

A new template is one small class: subclass :class:`Template` and name it in YAML.
"""

from abc import ABC, abstractmethod
from typing import Any

from .errors import UserError

BOX_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."


class Template(ABC):
    """Turns a question into prompt text and says what ends a completion.

    Attributes:
        stop_tokens: tokens that end a completion, besides the tokenizer's eos.
    """

    stop_tokens: tuple[str, ...] = ()

    @abstractmethod
    def render(self, question: str, tokenizer: Any) -> str:
        """The prompt as text, special tokens included."""


class Plain(Template):
    """The bare question, nothing else: the embedded world's template."""

    def render(self, question: str, tokenizer: Any) -> str:
        """The question itself."""
        return question


class R1(Template):
    r"""DeepSeek-R1-Distill: the model's chat template, no system message, answer in \boxed{}."""

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn through the tokenizer's own chat template.

        Raises:
            UserError: if the tokenizer has none.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise UserError("model.template: R1 needs a tokenizer with a chat template")
        messages = [{"role": "user", "content": f"{question}\n{BOX_INSTRUCTION}"}]
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


class ChatMLBox(Template):
    r"""ChatML with the \boxed{} instruction, for base models such as Qwen3-8B-Base.

    Base models end with either token, so both stop a completion.
    """

    stop_tokens = ("<|im_end|>", "<|endoftext|>")

    def render(self, question: str, tokenizer: Any) -> str:
        """One user turn, and the opening of the assistant's."""
        user = f"<|im_start|>user\n{question}\n{BOX_INSTRUCTION}<|im_end|>\n"
        return f"{user}<|im_start|>assistant\n"


class PromptEncoder:
    """A tokenizer and a template together.

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
        """Token ids of the prompt, however many."""
        text = self.template.render(question, self.tokenizer)
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def decode(self, tokens: list[int]) -> str:
        """Completion text without special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)
