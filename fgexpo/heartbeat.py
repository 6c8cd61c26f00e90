"""What this process is doing, and whether it makes progress: a record for the watchdog.

The record is process-wide, since one thread does the work. Any long task calls ``beat()`` at
intervals: an engine, a verifier or a plug-in. :class:`fgexpo.callbacks.Watchdog` reads it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

PATIENT = 10.0
BETWEEN = "between phases"
# Entered right before processes communicate, so that a waiting process is ahead of a hanging one.
EXCHANGE = "waiting for the others"


@dataclass
class Pulse:
    """A reading.

    Attributes:
        phase: the current work.
        position: phases entered so far; the sequence is the same on every process, so the others
            wait for the process with the smallest one.
        beats: grows with progress.
        patience: multiple of the usual limit that this phase may last without a beat.
        computes: this phase passes through a model on the CPU, where the use of the processor is
            progress too; never in a phase that is patient anyway.
    """

    phase: str = "set-up"
    position: int = 0
    beats: int = 0
    patience: float = PATIENT
    computes: bool = False


_pulse = Pulse()


def beat() -> None:
    """Report progress; cheap enough for every token."""
    _pulse.beats += 1


def read() -> Pulse:
    """A copy of the record."""
    return replace(_pulse)


def enter(name: str, patience: float = 1.0) -> None:
    """Start another phase."""
    _pulse.phase, _pulse.patience, _pulse.computes = name, patience, False
    _pulse.position += 1
    beat()


def compute(on_cpu: bool) -> None:
    """Say that a model's pass begins in this phase.

    Where no beat is expected for long, as between phases, nothing would take it back.
    """
    _pulse.computes = on_cpu and _pulse.patience <= 1


@contextmanager
def phase(name: str, patience: float = 1.0) -> Iterator[None]:
    """Run the block as a phase of this name; after an error the name stays, to tell what failed."""
    outer = read()
    enter(name, patience)
    yield
    enter(outer.phase, outer.patience)
    compute(outer.computes)
