"""What this process is doing and whether it gets on, for whoever watches it.

A process-wide record: work is done by one thread, and whatever takes long says ``beat()`` now and
then, in an engine, a verifier or a plug-in alike. :class:`fgexpo.callbacks.Watchdog` reads it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

PATIENT = 10.0
BETWEEN = "between phases"
# Entered right before processes talk, so that whoever waits has come further than whoever hangs.
EXCHANGE = "waiting for the others"


@dataclass
class Pulse:
    """A reading.

    Attributes:
        phase: what is being done.
        position: phases entered so far; the same sequence on every process, so whoever has the
            smaller one is the one that others wait for.
        beats: grows while there is progress.
        patience: how many times the usual limit this phase may go without a beat.
    """

    phase: str = "set-up"
    position: int = 0
    beats: int = 0
    patience: float = PATIENT


_pulse = Pulse()


def beat() -> None:
    """Report progress; cheap enough for every token."""
    _pulse.beats += 1


def read() -> Pulse:
    """A copy of the record."""
    return replace(_pulse)


def enter(name: str, patience: float = 1.0) -> None:
    """Say that another phase begins."""
    _pulse.phase, _pulse.patience = name, patience
    _pulse.position += 1
    beat()


@contextmanager
def phase(name: str, patience: float = 1.0) -> Iterator[None]:
    """Do the work inside under this name; after an error it stays, to tell what failed."""
    outer = (_pulse.phase, _pulse.patience)
    enter(name, patience)
    yield
    enter(*outer)
