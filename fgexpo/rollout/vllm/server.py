"""Rollouts by vLLM's own server on other devices or nodes, which receives each update's weights.

Speaks the server's token endpoint for generation and its weight transfer (NCCL) for the sync. Start
the server with ``VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --enable-scale-out --logprobs-mode
processed_logprobs --weight-transfer-config '{"backend": "nccl"}'``.
"""

import json
import urllib.error
import urllib.request
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import torch.distributed as dist
from torch import nn

from ...errors import EnvironmentFailure, UserError
from ...heartbeat import beat
from ...types import Completions
from ..engine import RolloutEngine, RolloutRequest
from ..limits import LIMITS
from ..stop_text import cut_at_text
from .formats import sampling_arguments, to_completions
from .transfer import NCCLTransfer, WeightTransfer

HEALTH_SECONDS = 5.0


class VLLMServer(RolloutEngine):
    """A vLLM server that is already running.

    Args:
        url: the server's address, such as ``http://node7:8000``.
        transfer: how weights are sent.
        concurrency: questions that each process asks at once.
        timeout: seconds that a question's rollouts may take; a server that reports itself healthy
            but makes no progress is noticed only then.
        seeded: see :class:`VLLM`.
        max_logp_difference: see :class:`VLLM`.
    """

    cuts_logprobs = True
    collective = True

    def __init__(
        self,
        url: str,
        transfer: WeightTransfer | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        seeded: bool = True,
        max_logp_difference: float = LIMITS["bfloat16"],
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"model.engine.url must begin with http:// or https://, got {url!r}")
        self.url = url.rstrip("/")
        self.transfer = transfer or NCCLTransfer()
        self.concurrency = concurrency
        self.timeout = timeout
        self.seeded = seeded
        self.max_logp_difference = max_logp_difference
        self._stale = True

    def check_weights(self, adapters: bool, sharded: bool) -> None:
        """Check that the weights can be sent as they are in memory."""
        if not isinstance(self.transfer, NCCLTransfer):
            return
        for setting, there in (("model.lora", adapters), ("trainer.strategy = fsdp2", sharded)):
            if there:
                raise UserError(
                    f"model.engine: VLLMServer cannot take over weights with {setting}; use VLLM"
                )

    def generate(self, policy: nn.Module, request: RolloutRequest) -> Completions:
        """See :class:`RolloutEngine`."""
        if self._stale:
            self._take_over(policy)
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            asked = [
                pool.submit(self._ask, prompt, seeds, request)
                for prompt, seeds in zip(request.prompts, request.seeds, strict=True)
            ]
            self._wait(asked)
        finally:
            # After an error, no caller waits for the other answers.
            pool.shutdown(wait=False, cancel_futures=True)
        choices = [choice for future in asked for choice in future.result()]
        tokens = [choice["token_ids"] for choice in choices]
        logps = [[token["logprob"] for token in c["logprobs"]["content"]] for c in choices]
        finish = [choice["finish_reason"] for choice in choices]
        cut_at_text(request, tokens, logps, finish)
        return to_completions(tokens, logps, finish, request.device)

    def sync(self, policy: nn.Module) -> None:
        """Mark the server's weights as stale."""
        self._stale = True

    def logp_limit(self) -> float:
        """See :class:`RolloutEngine`."""
        return self.max_logp_difference

    def _take_over(self, policy: nn.Module) -> None:
        """Send the weights, then drop what was computed with the old ones: only here."""
        self.transfer.send(policy, self.url)
        if not dist.is_initialized() or dist.get_rank() == 0:
            answer = self._post("reset_prefix_cache")
            if not answer.get("success"):
                raise EnvironmentFailure(f"{self.url} did not reset its prefix cache: {answer}")
        if dist.is_initialized():
            dist.barrier()  # no process asks before the cache is clear
        self._stale = False

    def _ask(self, prompt: list[int], seeds: list[int], request: RolloutRequest) -> list[Any]:
        sampling = sampling_arguments(request)
        greedy = request.sampling.temperature == 0
        sampling["n"] = 1 if greedy else len(seeds)
        if self.seeded:
            sampling["seed"] = seeds[0]
        answer = self._post(
            "inference/v1/generate", {"token_ids": prompt, "sampling_params": sampling}
        )
        group = sorted(answer["choices"], key=lambda choice: choice["index"])
        return group * (len(seeds) // len(group))

    def _wait(self, asked: list[Future[Any]]) -> None:
        """Wait for all answers; an answer, or a server that reports itself healthy, is progress."""
        left = set(asked)
        while left:
            done, left = wait(left, HEALTH_SECONDS, FIRST_COMPLETED)
            for future in done:
                future.result()
            if not done:
                self._call(urllib.request.Request(f"{self.url}/health"), HEALTH_SECONDS)
            beat()

    def _post(self, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(content or {}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", data, headers)
        return json.loads(self._call(request, self.timeout) or b"{}")

    def _call(self, request: urllib.request.Request, timeout: float) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:500]
            raise EnvironmentFailure(
                f"{request.full_url} answered {error.code}: {detail}"
            ) from error
        except OSError as error:
            raise EnvironmentFailure(f"{request.full_url} cannot be reached: {error}") from error
