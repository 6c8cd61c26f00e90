"""Where questions come from: the embedded arithmetic world, and readers of files and of the hub."""

from .benchmarks import Benchmark
from .dapo import DapoMath17k
from .sources import Mixture, QuestionFile, QuestionSource, TinyArithmetic, look_in

__all__ = [
    "Benchmark",
    "DapoMath17k",
    "Mixture",
    "QuestionFile",
    "QuestionSource",
    "TinyArithmetic",
    "look_in",
]
