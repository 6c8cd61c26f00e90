"""How questions become prompts, and what ends the completions that follow."""

from .encoder import PromptEncoder
from .stop_strings import StopStrings
from .template import (
    BOX_INSTRUCTION,
    LINE_INSTRUCTION,
    LINE_REMINDER,
    PLACEHOLDER,
    R1,
    Answer,
    AnswerLine,
    ChatMLBox,
    Custom,
    Plain,
    Template,
)

__all__ = [
    "BOX_INSTRUCTION",
    "LINE_INSTRUCTION",
    "LINE_REMINDER",
    "PLACEHOLDER",
    "R1",
    "Answer",
    "AnswerLine",
    "ChatMLBox",
    "Custom",
    "Plain",
    "PromptEncoder",
    "StopStrings",
    "Template",
]
