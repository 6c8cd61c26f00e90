"""Where questions come from: the embedded arithmetic world, files, the hub and reasoning-gym."""

from .benchmarks import Benchmark
from .dapo import DapoMath17k
from .reasoning_gym import ReasoningGym
from .sources import Mixture, QuestionFile, QuestionSource, TinyArithmetic, look_in

__all__ = [
    "Benchmark",
    "DapoMath17k",
    "Mixture",
    "QuestionFile",
    "QuestionSource",
    "ReasoningGym",
    "TinyArithmetic",
    "look_in",
]
