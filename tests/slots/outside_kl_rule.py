"""A KL rule: the coefficient rises with the share of completions that ended by themselves."""

from fgexpo.callbacks import KLController


class EndedKL(KLController):
    """From ``low`` where no completion ended by itself, to 1 where all did."""

    def __init__(self, low: float = 0.5) -> None:
        self.low = low

    def factor(self, batch, accuracy: float) -> float:
        """Linear in that share."""
        finish = batch.completions.finish
        return self.low + (1 - self.low) * finish.count("stop") / len(finish)
