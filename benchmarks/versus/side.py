"""The record that either side writes about its run."""

import json
import resource
from dataclasses import asdict, dataclass
from pathlib import Path

from .work import Work


@dataclass
class Result:
    """A run of one side.

    Attributes:
        seconds: from the end of one step to the end of the next, including everything between.
        tokens: mean length of the completions of these steps.
        memory: the training process's largest resident size, MiB.
    """

    seconds: list[float]
    tokens: float
    memory: float


def write_result(out: Path, work: Work, ends: list[float], lengths: list[float]) -> None:
    """Record a run.

    Args:
        out: JSON file.
        work: the work done.
        ends: when each step ended, in seconds, including uncounted steps.
        lengths: mean length of each step's completions.

    Raises:
        RuntimeError: when the work done is not the work asked for.
    """
    expected = work.warm + work.steps
    if not len(ends) == len(lengths) == expected:
        raise RuntimeError(f"{len(ends)} steps and {len(lengths)} lengths, expected {expected}")
    if work.fixed and set(lengths) != {float(work.tokens)}:
        raise RuntimeError(f"completions of {set(lengths)} tokens, expected {work.tokens}")
    seconds = [
        end - start for start, end in zip(ends[work.warm - 1 :], ends[work.warm :], strict=False)
    ]
    counted = lengths[work.warm :]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out.write_text(json.dumps(asdict(Result(seconds, sum(counted) / len(counted), memory))))


def read_result(path: Path) -> Result:
    """Read what :func:`write_result` wrote."""
    return Result(**json.loads(path.read_text()))
