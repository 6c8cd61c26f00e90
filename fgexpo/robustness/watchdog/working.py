"""Processor time as progress: a slow pass is no hang.

On a busy machine one layer's backward pass over many tokens may take longer than the limit, and no
beat comes before it is over. Meanwhile the process uses the processor. One that waits, in a
collective or on a lock, does not. A pass on a GPU says nothing, since waiting for it keeps the
processor busy too.
"""

# Of one processor. Threads that draw a bar and keep watch use less; a machine that runs twenty
# processes on each of its processors leaves as much.
SHARE = 0.05


class Working:
    """Makes beats of processor time, up to an allowance between two beats of the work itself.

    Without it a loop that never ends would be progress for ever.

    Args:
        allowance: seconds.
    """

    def __init__(self, allowance: float) -> None:
        self.allowance = allowance
        self._beats = 0
        self._granted = 0.0
        self._seen: tuple[int, float, float] | None = None

    def look(self, beats: int, computes: bool, processor: float, now: float) -> int:
        """Take a reading, and return the beats made so far.

        Args:
            beats: of the work itself, so far.
            computes: whether it is in a model's pass on the CPU.
            processor: processor time of the process, in seconds.
            now: seconds on any clock that does not stand still.
        """
        if self._seen is not None:
            before, used, then = self._seen
            passed = now - then
            if beats != before:
                self._granted = 0.0
            elif computes and processor - used >= SHARE * passed and self._granted < self.allowance:
                self._granted += passed
                self._beats += 1
        self._seen = (beats, processor, now)
        return self._beats
