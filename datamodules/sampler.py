"""The sampler of the curriculum: it draws, and knows nothing of pass-rates."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from fgexpo.curriculum.draw import draw_distinct
from fgexpo.errors import UserError
from fgexpo.seeding import hash_seed


class CurriculumSampler(WeightedRandomSampler):
    """Draws the questions of each step from the weights of that moment.

    Within a step questions are distinct (successive sampling: each draw is proportional to the
    weights of those not yet drawn); between steps they may come again. So an epoch is not a
    permutation of the pool, in which weights would have no effect.

    Every step's draw is seeded by (seed, step). It depends neither on interruptions nor on the
    number of processes, each of which takes its share of the same draw. A step may draw again, in
    waves, each seeded by (seed, step, wave).

    Args:
        weights: unnormalised, float64 [M].
        questions_per_step: over all processes.
        steps_per_epoch: after which Lightning's epoch ends.
        seed: seed of all draws.
        rank: this process's rank.
        world_size: number of processes.

    Attributes:
        step: the next step to draw; advanced once training has observed it.

    Raises:
        UserError: for a pool smaller than a step, or a step that the processes cannot share evenly.
    """

    def __init__(
        self,
        weights: Tensor,
        questions_per_step: int,
        steps_per_epoch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if questions_per_step > len(weights):
            raise UserError(
                f"data.questions_per_step = {questions_per_step} is more than the "
                f"{len(weights)} questions of the pool"
            )
        if questions_per_step % world_size:
            raise UserError(
                f"data.questions_per_step = {questions_per_step} is not divisible by "
                f"the {world_size} processes"
            )
        local = questions_per_step // world_size
        super().__init__(weights.tolist(), local * steps_per_epoch, replacement=True)
        self.questions_per_step = questions_per_step
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        # Every W-th: the processes' k-th mini-batches then make up the k-th mini-batch of the draw.
        self.own = slice(rank, None, world_size)
        self.step = 0
        self.refresh(weights)

    def refresh(self, weights: Tensor) -> None:
        """Replace the weights; the next draw uses them.

        Raises:
            UserError: if they are not M finite, non-negative numbers.
        """
        weights = weights.double().cpu()
        if weights.shape != self.weights.shape:
            raise UserError(
                f"data.curriculum gave weights of shape {tuple(weights.shape)} for a pool of "
                f"{len(self.weights)} questions"
            )
        low, high = weights.aminmax()  # both are NaN if any weight is
        if not (low >= 0 and high.isfinite()):
            raise UserError("data.curriculum gave a weight that is negative or not finite")
        self.weights = weights

    def draw(self, step: int, wave: int = 0, asked: Sequence[int] = ()) -> list[int]:
        """The rows of all processes' questions, in the order drawn.

        Args:
            step: of training.
            wave: which draw of this step.
            asked: rows that are not drawn; the others must fill the wave.
        """
        # Questions of weight 0 are drawn only when the others do not fill a step.
        weights = self.weights.clamp_min(torch.finfo(torch.float64).tiny)
        weights[list(asked)] = 0
        key = (self.seed, "draw", step, wave) if wave else (self.seed, "draw", step)
        generator = torch.Generator().manual_seed(hash_seed(*key))
        return draw_distinct(weights, self.questions_per_step, generator).tolist()

    def __iter__(self) -> Iterator[int]:
        """This process's share of the rest of the epoch; each step is drawn when it is reached.

        Raises:
            RuntimeError: when a step is requested before the previous one was trained on.
        """
        end = (self.step // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(self.step, end):
            if step != self.step:
                raise RuntimeError(
                    f"step {step} was requested before step {self.step} was observed: either the "
                    "loader prefetches, or nothing calls the data module's observe"
                )
            yield from self.draw(step)[self.own]
