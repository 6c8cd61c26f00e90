"""Graded rollouts become advantages."""

from .group import AdvantageScale, equal_rewards, group_advantages

__all__ = ["AdvantageScale", "equal_rewards", "group_advantages"]
