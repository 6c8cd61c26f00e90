"""A tokenizer with a template: questions become token ids, completions text."""

from collections.abc import Iterable
from typing import Any

from .stop_strings import StopStrings
from .stops import Stops
from .template import Template

_PROBE = "1 + 1 = ?"


class PromptEncoder:
    """A tokenizer with a template.

    Args:
        tokenizer: a Hugging Face tokenizer.
        template: the template.
        max_prompt_tokens: longest prompt that is used.
        end_ids: ids at which the model's ``generation_config.json`` ends a completion.

    Attributes:
        stop_ids: tokens that end a completion, ascending.
        stop_strings: text that ends one too; None if there is none.

    Raises:
        UserError: when the tokenizer has no eos, does not know a stop token of the template, or
            has a chat template that cannot be used.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: Template,
        max_prompt_tokens: int,
        end_ids: Iterable[int] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.max_prompt_tokens = max_prompt_tokens
        template.check(tokenizer)
        stops = Stops(tokenizer, template.stop_tokens, tuple(end_ids))
        self.stop_ids: list[int] = stops.ids
        self.stop_strings: StopStrings | None = stops.strings
        self._opening = _opening(tokenizer)

    def encode(self, question: str) -> list[int] | None:
        """Token ids of the prompt; None when it is longer than ``max_prompt_tokens``."""
        tokens = self.tokens(question)
        return tokens if len(tokens) <= self.max_prompt_tokens else None

    def tokens(self, question: str) -> list[int]:
        """Token ids of the prompt, whatever their number.

        They open as the tokenizer opens every text (BOS, if it writes one), but only once: a
        template may have written it.
        """
        text = self.template.render(question, self.tokenizer)
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        opened = tokens[: len(self._opening)] == self._opening
        return tokens if opened else [*self._opening, *tokens]

    def decode(self, tokens: list[int]) -> str:
        """Completion text without special tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True)


def _opening(tokenizer: Any) -> list[int]:
    """What the tokenizer writes in front of a text; what it writes behind it is no prompt's."""
    bare = tokenizer(_PROBE, add_special_tokens=False).input_ids
    full = tokenizer(_PROBE).input_ids
    starts = (i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return full[: next(starts, 0)] if bare else []
