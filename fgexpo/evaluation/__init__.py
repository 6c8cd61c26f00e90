"""Scores with intervals: their settings, and results that survive a kill."""

from .settings import EvaluationSettings

__all__ = ["EvaluationSettings"]
