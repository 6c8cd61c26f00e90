"""Supervised learning on worked solutions: the warm-up of the tiny base, or a cold start."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from .checks.optimizer import try_optimizer
from .errors import UserError
from .model.logprobs import completion_logprobs
from .model.positions import PositionLimit
from .model.sequences import Sequences
from .policy import PolicyModule
from .tasks.tiny_model import TinyQwen2


class SupervisedModule(PolicyModule):
    """Maximises the log-likelihood of given completions.

    Args:
        name: Hugging Face folder or hub id to start from; ignored with ``from_scratch``.
        from_scratch: start from random weights of this shape instead.
        optimizer: makes the optimizer from the parameters.
        warmup_steps: steps over which the learning rate rises to its constant value.
        cooldown_steps: steps over which it falls to zero, at ``trainer.max_steps``; 0 for never.
        **policy: passed on to :class:`PolicyModule`.
    """

    def __init__(
        self,
        name: str = "tiny-qwen2",
        from_scratch: TinyQwen2 | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=3e-3),
        warmup_steps: int = 50,
        cooldown_steps: int = 0,
        **policy: Any,
    ) -> None:
        self.from_scratch = from_scratch
        super().__init__(name, **policy)
        self.make_optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.cooldown_steps = cooldown_steps

    def open_tokenizer(self) -> Any:
        """The folder's tokenizer, or the shape's own."""
        return self.from_scratch.tokenizer() if self.from_scratch else super().open_tokenizer()

    def max_positions(self) -> PositionLimit:
        """The folder's limit, or the shape's own."""
        shape = self.from_scratch
        return PositionLimit(shape.max_positions) if shape else super().max_positions()

    def model_type(self) -> str:
        """The folder's architecture, or the shape's own."""
        return "qwen2" if self.from_scratch else super().model_type()

    def end_ids(self) -> list[int]:
        """The folder's; a new model has none besides its tokenizer's."""
        return [] if self.from_scratch else super().end_ids()

    def open_policy(self) -> nn.Module:
        """The folder's weights, or random ones that depend on the seed alone."""
        if self.from_scratch is None:
            return super().open_policy()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return self.from_scratch.model()

    def check_stage(self, stage: str) -> None:
        """Check the optimizer too."""
        super().check_stage(stage)
        if stage == "fit":
            self.facts = try_optimizer(
                self.make_optimizer,
                warmup_steps=self.warmup_steps,
                cooldown_steps=self.cooldown_steps,
            )

    def setup(self, stage: str) -> None:
        """Check that a falling learning rate has an end, and that the run has one process.

        Raises:
            UserError: when ``trainer.max_steps`` is not set, or for several processes.
        """
        if stage == "fit" and self.trainer.world_size > 1:
            raise UserError(
                f"trainer.devices and trainer.num_nodes make {self.trainer.world_size} processes; "
                "supervised learning runs on one, set --trainer.devices=1"
            )
        if stage == "fit" and self.cooldown_steps and self.trainer.max_steps < 1:
            raise UserError("model.cooldown_steps needs trainer.max_steps, where the rate is zero")

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate that rises, stays, and may fall at the end."""
        trained = [weight for weight in self.policy.parameters() if weight.requires_grad]
        optimizer = self.make_optimizer(trained)
        total, fall = self.trainer.max_steps, self.cooldown_steps

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
            return min(rise, (total - step) / fall) if fall else rise

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def training_step(self, batch: Sequences, batch_idx: int) -> Tensor:
        """Mean negative log-likelihood of the completion tokens."""
        logp_NT, _ = completion_logprobs(self.policy, batch)
        loss = -logp_NT.sum() / batch.completion_lengths_N.sum()
        self.log("loss", loss)
        self.rollout_step += 1
        self.log("step", float(self.rollout_step))  # the loggers' x-axis
        return loss
