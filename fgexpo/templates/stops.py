"""Everything that ends a completion: ids, and strings that are no token."""

import re
from collections.abc import Iterable
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from ..errors import UserError
from .chat import turn_end
from .stop_strings import StopStrings

_TOKEN = re.compile(r"<\|.*\|>")  # how special tokens are written
# A template may close a turn with a bracket, which answers contain too.
_SHORTEST_END = 3


class Stops:
    """What ends a completion: the tokenizer's eos, the model's ids, the chat template, the user.

    Args:
        tokenizer: a Hugging Face tokenizer.
        given: the template's strings. The name of a token that stands for no text of its own, such
            as ``<|im_end|>``, is that token; all else is text.
        model_ids: ids at which the model's ``generation_config.json`` ends a completion.

    Attributes:
        ids: token ids, ascending.
        strings: text that ends a completion too; None if there is none.

    Raises:
        UserError: when the tokenizer has no eos, or cannot write one of the strings.
    """

    def __init__(self, tokenizer: Any, given: Iterable[str], model_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"model.name: the tokenizer of {tokenizer.name_or_path!r} has no eos token, "
                "so no completion could end; set eos_token in its tokenizer_config.json"
            )
        self._marks = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        self._ids: set[int] = {tokenizer.eos_token_id}
        self._strings: list[str] = []
        for text in given:
            self._add(text)
        self._add_models(model_ids)
        self._add_turn_end()
        self.ids = sorted(self._ids)
        strings = tuple(dict.fromkeys(self._strings))
        self.strings = StopStrings(strings, tokenizer) if strings else None

    def _add(self, text: str) -> None:
        known = self._tokenizer.get_vocab().get(text)
        if known is not None and (known in self._marks or self._is_other_name(text, known)):
            self._ids.add(known)
            return
        tokens = self._encode(text)
        # Some tokenizers drop a leading space, unless something is in front of it.
        written = (self._text(tokens), self._text(self._encode(f"x{text}")))
        if _TOKEN.fullmatch(text) or not any(text in found for found in written):
            raise UserError(
                f"model.template: stops on {text!r}, which the tokenizer of "
                f"{self._tokenizer.name_or_path!r} does not have and cannot write"
            )
        self._strings.append(text)
        if self._text(tokens[-1:]) == text:
            self._ids.add(tokens[-1])

    def _is_other_name(self, name: str, token: int) -> bool:
        """Whether a token's name is not its text: Ċ for a line break, but é is a letter."""
        text = self._text([token])
        half = len(name) == 1 and text == "\ufffd"  # the name of a byte that is no character
        return text != name and not half

    def _add_models(self, ids: Iterable[int]) -> None:
        self._ids.update(ids)
        texts = [self._text([i]) for i in ids if i < len(self._tokenizer) and i not in self._marks]
        if texts:
            rank_zero_warn(
                f"model.name: generation_config.json ends completions at {texts[0]!r}, which is "
                f"ordinary text to the tokenizer of {self._tokenizer.name_or_path!r}"
            )

    def _add_turn_end(self) -> None:
        end = turn_end(self._tokenizer)
        tokens = [token for token in self._encode(end) if token in self._marks] if end else []
        if tokens:
            self._ids.add(tokens[0])
        elif len(end.strip()) >= _SHORTEST_END:
            self._add_text_end(end.strip())

    def _add_text_end(self, end: str) -> None:
        if end in self._text(self._encode(end)):
            self._strings.append(end)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False).input_ids

    def _text(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
