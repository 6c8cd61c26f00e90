"""The protocol of rollout engines: prompts and seeds in, completions out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import UserError
from ..groups import Groups
from ..model.exactness import Trial
from ..templates import StopStrings
from ..types import Completions


@dataclass
class Sampling:
    """How completions are drawn.

    Attributes:
        max_new_tokens: limit on a completion's tokens, the stop token included.
        temperature: logits are divided by it; 0 is greedy.
        top_p: keep the smallest set of tokens with at least this probability; 1 keeps all.
        top_k: keep the k likeliest tokens; 0 keeps all.
    """

    max_new_tokens: int = 1024
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(
                f"sampling.max_new_tokens must be at least 1, got {self.max_new_tokens}"
            )
        if self.temperature < 0:
            raise UserError(f"sampling.temperature must not be negative, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"sampling.top_p must be in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise UserError(f"sampling.top_k must be 0 (off) or positive, got {self.top_k}")


@dataclass
class RolloutRequest:
    """What to sample.

    Attributes:
        prompts: token ids of Q prompts.
        seeds: one per rollout, Q lists of as many as each prompt is to have.
        sampling: how to draw.
        stop_ids: a completion ends with the first of these.
        device: for the completions.
        longest: the most tokens of a prompt with its completion in this run.
        stop_strings: text that ends a completion too; None if there is none.
    """

    prompts: list[list[int]]
    seeds: list[list[int]]
    sampling: Sampling
    stop_ids: list[int]
    device: torch.device
    longest: int
    stop_strings: StopStrings | None = None

    @property
    def groups(self) -> Groups:
        """How many rollouts each prompt is to have."""
        return Groups([len(seeds) for seeds in self.seeds])


class RolloutEngine(ABC):
    """Samples completions from the current policy; a new engine is one file.

    Attributes:
        memory_settings: settings of the engine that save memory when lowered.
        collective: all processes must call ``generate`` together.
        cuts_logprobs: top-p and top-k change the log-probs that it returns.
    """

    memory_settings: tuple[str, ...] = ()
    collective: bool = False
    cuts_logprobs: bool = False

    @abstractmethod
    def generate(self, policy: nn.Module, request: RolloutRequest) -> Completions:
        """Sample each prompt's completions, prompt by prompt."""

    def sync(self, policy: nn.Module) -> None:  # noqa: B027
        """Note that the policy's weights have changed; an engine with its own copy updates it."""

    def check_weights(self, adapters: bool, sharded: bool) -> None:  # noqa: B027
        """Check that :meth:`sync` can load such weights.

        Args:
            adapters: the policy has LoRA adapters.
            sharded: its weights are spread over the processes.

        Raises:
            UserError: naming the setting that prevents it.
        """

    def check_model(self, policy: nn.Module, trial: Trial) -> None:  # noqa: B027
        """Check that the engine can sample from a model, before it is trained or sharded.

        Args:
            policy: on the CPU, as it was opened.
            trial: of this model.

        Raises:
            UserError: naming the model's class.
        """

    def check_repeats(self) -> None:
        """Check that the same weights and seeds give the same completions, bit for bit.

        Raises:
            UserError: saying what an engine of this kind needs for it; here, that nobody knows.
        """
        raise UserError(
            f"model.deterministic = true: whether {type(self).__name__} draws the same rollouts "
            "every time is not known; use Native, or set it to false"
        )

    def rest(self) -> None:  # noqa: B027
        """Free the device's memory until the next rollouts."""

    def logp_limit(self) -> float | None:
        """Largest mean difference from the trainer's log-probs due to rounding; None if unknown."""
        return None
