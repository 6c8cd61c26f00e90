"""Strings that end a completion: found in its text, whatever tokens they are spread over."""

from typing import Any

# Tokens in front of a text: the first token's own text depends on them (a leading space).
CONTEXT = 4
# Ids without a text, as a model has them whose vocabulary is padded.
SILENT = 8
_UNFINISHED = "\ufffd"  # what a part of a character decodes to


class StopStrings:
    """A completion ends with the first token after which its text contains one of the strings.

    That token stays whole, even if its text goes on behind the string. The text is what the
    completion's tokens add to the prompt, special tokens included.

    Args:
        strings: at least one, none empty.
        tokenizer: decodes tokens.

    Attributes:
        reach: how many of a completion's last tokens decide whether its newest one ends it.
    """

    def __init__(self, strings: tuple[str, ...], tokenizer: Any) -> None:
        self.strings = strings
        self.tokenizer = tokenizer
        # Every token adds a byte of text at least.
        self._window = max(len(string.encode()) for string in strings) + SILENT
        self.reach = self._window + CONTEXT
        self._endings: dict[int, bool] = {}

    def may_end(self, token: int) -> bool:
        """Whether a completion can end with this token at all; remembered for each token."""
        if token not in self._endings:
            self._endings[token] = self._fits(self._decode([token]))
        return self._endings[token]

    def ended(self, prompt: list[int], recent: list[int]) -> bool:
        """Whether a string is there now that the newest token is.

        Args:
            prompt: tokens in front of the completion.
            recent: the completion's last ``reach`` tokens, or all if there are fewer.
        """
        split = max(0, len(recent) - self._window)
        before = recent[:split] if split else prompt
        return self._contained(before, recent[split:])

    def length(self, prompt: list[int], completion: list[int]) -> int | None:
        """Tokens up to and with the one that ends the completion; None if none does."""
        # One after the other: bytes that follow can make a text unreadable that was there before.
        for count, token in enumerate(completion, start=1):
            recent = completion[max(0, count - self.reach) : count]
            if self.may_end(token) and self.ended(prompt, recent):
                return count
        return None

    def _contained(self, before: list[int], tokens: list[int]) -> bool:
        context = before[-CONTEXT:]
        text, start = self._decode(context + tokens), 0
        # A character that the prompt has begun is the completion's.
        for own, whole in zip(self._decode(context), text, strict=False):
            if own != whole:
                break
            start += 1
        return any(text.find(string, start) >= 0 for string in self.strings)

    def _fits(self, text: str) -> bool:
        """Whether this text can be the end of a string, or hold one."""
        if not text or _UNFINISHED in text:
            return True
        # A token that is decoded alone may lose its leading space.
        return any(
            string in piece or any(piece.startswith(string[i:]) for i in range(1, len(string)))
            for string in self.strings
            for piece in (text, f" {text}")
        )

    def _decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
