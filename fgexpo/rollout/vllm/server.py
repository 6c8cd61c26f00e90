"""Rollouts by vLLM's own servers on other devices or nodes, which receive each update's weights.

A step's questions are dealt out to the servers in turn. Weights go to all of them by vLLM's weight
transfer (NCCL). How a server is started: :data:`fgexpo.rollout.vllm.server_facts.COMMAND`.
"""

import json
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ...errors import EnvironmentFailure, UserError
from ...heartbeat import PATIENT, phase
from ...parallel.first_process import by_first
from ...types import Completions
from ..engine import RolloutEngine, RolloutRequest
from ..limits import LIMITS
from ..stop_text import cut_at_text
from .answers import FLAT_PATH, JSON_PATH, Answer, read_flat, read_json
from .connection import Connection
from .fleet import Fleet, deal
from .formats import sampling_arguments, to_ask, to_completions
from .server_facts import ServerFacts, ask, check_longest, check_servers
from .transfer import NCCLTransfer, WeightTransfer, as_urls


class VLLMServer(RolloutEngine):
    """One vLLM server that is already running, or several that share the questions.

    Args:
        url: a server's address, such as ``http://node7:8000``, or a list of them.
        transfer: how weights are sent.
        concurrency: questions that each process asks each server at once.
        timeout: seconds that a question's rollouts may take; a server that reports itself healthy
            but makes no progress is noticed only then.
        seeded: see :class:`VLLM`.
        max_logp_difference: see :class:`VLLM`.
    """

    cuts_logprobs = True
    collective = True

    def __init__(
        self,
        url: list[str] | str,
        transfer: WeightTransfer | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        seeded: bool = True,
        max_logp_difference: float = LIMITS["bfloat16"],
    ) -> None:
        if concurrency < 1 or timeout <= 0:
            raise UserError("model.engine.concurrency and timeout must be positive")
        self.urls = as_urls(url)
        self.transfer = transfer or NCCLTransfer()
        self.seeded = seeded
        self.max_logp_difference = max_logp_difference
        self._fleet = Fleet(self.urls, timeout, "model.engine.timeout", concurrency)
        self._facts: list[ServerFacts] = []
        self._stale = True

    def check_weights(self, adapters: bool, sharded: bool) -> None:
        """Ask the servers what they are: all weights can be sent, if the servers can take them."""
        self._meet()

    def generate(self, policy: nn.Module, request: RolloutRequest) -> Completions:
        """See :class:`RolloutEngine`."""
        self._meet()
        check_longest(self._facts, request.longest)
        if self._stale:
            self._take_over(policy)
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        numbers = deal(len(request.prompts), len(self.urls), rank, world)
        groups = zip(numbers, request.prompts, request.seeds, strict=True)
        answers = self._fleet.run(
            "sampled",
            [(n, self._question(n, prompt, seeds, request)) for n, prompt, seeds in groups],
        )
        tokens: list[Any] = [row for answer in answers for row in answer.tokens]
        logps: list[Any] = [row for answer in answers for row in answer.logps]
        finish = [reason for answer in answers for reason in answer.finish]
        if request.stop_strings is not None:
            tokens = [row.tolist() for row in tokens]  # texts are looked for in lists
            cut_at_text(request, tokens, logps, finish)
        return to_completions(tokens, logps, finish, request.device)

    def sync(self, policy: nn.Module) -> None:
        """Mark the servers' weights as stale."""
        self._stale = True

    def logp_limit(self) -> float:
        """See :class:`RolloutEngine`."""
        return self.max_logp_difference

    def _meet(self) -> None:
        """Ask each server once what it is, and check that it will do."""
        if self._facts:
            return

        def meet() -> list[ServerFacts]:
            facts = self._fleet.each("said what it is", ask)
            check_servers(facts, self.transfer.nccl)
            return facts

        with phase("meet the vLLM servers", PATIENT):
            self._facts = by_first(meet)
        first = self._facts[0]
        rank_zero_info(
            f"{len(self.urls)} x vLLM {first.version} ({first.model}, {first.dtype}), answers as "
            + ("plain numbers" if all(facts.flat for facts in self._facts) else "JSON")
        )

    def _take_over(self, policy: nn.Module) -> None:
        """Send the weights, then drop what was computed with the old ones: only here."""
        with phase("send the weights", PATIENT):
            self.transfer.send(policy, self.urls)
            # No process asks before the caches are clear.
            by_first(lambda: self._fleet.each("dropped its prefix cache", _reset))
        self._stale = False

    def _question(
        self, number: int, prompt: list[int], seeds: list[int], request: RolloutRequest
    ) -> Callable[[Connection], Answer]:
        """What asks a server for one question's rollouts."""
        sampling: dict[str, Any] = sampling_arguments(request)
        asked = sampling["n"] = to_ask(request, len(seeds))
        if self.seeded:
            sampling["seed"] = seeds[0]
        content = {"token_ids": prompt, "sampling_params": sampling}
        flat = self._facts[number].flat

        def question(server: Connection) -> Answer:
            answer = server.post(FLAT_PATH if flat else JSON_PATH, content)
            try:
                return (read_flat if flat else read_json)(answer).for_all(asked, len(seeds))
            except (ValueError, KeyError, TypeError) as error:
                raise EnvironmentFailure(
                    f"{server.url} answered something else ({error})"
                ) from error

        return question


def _reset(server: Connection) -> None:
    answer = server.post("reset_prefix_cache")
    if not json.loads(answer or b"{}").get("success"):
        raise EnvironmentFailure(f"{server.url} did not reset its prefix cache: {answer!r}")
