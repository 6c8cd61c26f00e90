"""What comes of an experiment of `make chaos`."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What came of an experiment: how often tried, and a line for each loss."""

    name: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)

    def note(self, fault):
        """Count one attempt; a fault is what went wrong, or nothing."""
        self.tried += 1
        if fault:
            self.lost.append(fault)
