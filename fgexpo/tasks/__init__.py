"""Questions: the embedded arithmetic world, and readers of files."""

from .sources import QuestionFile, QuestionSource, TinyArithmetic

__all__ = ["QuestionFile", "QuestionSource", "TinyArithmetic"]
