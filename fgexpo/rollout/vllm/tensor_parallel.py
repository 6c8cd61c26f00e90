"""Processes that share one engine: each adds its prompts, and all decode them together."""

import os
import socket
from dataclasses import replace

import torch
import torch.distributed as dist

from ...errors import UserError
from ...types import Completions
from ..engine import RolloutRequest


class EngineGroup:
    """The ``size`` processes of neighbouring ranks that share an engine.

    All processes must call this together.

    Args:
        size: processes per group.
        device: this process's.

    Attributes:
        distributed: there is more than one process.
        one_node: all of them run on the same host.

    Raises:
        UserError: when the processes cannot be divided into groups of this size, or a single
            process does not use the first GPU, which vLLM would open.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        world = dist.get_world_size() if dist.is_initialized() else 1
        if world % size:
            raise UserError(
                f"model.engine.tensor_parallel = {size} does not divide the {world} processes"
            )
        self.size = size
        self.distributed = world > 1
        hosts = [socket.gethostname()] * world
        if self.distributed:
            dist.all_gather_object(hosts, hosts[0])
        self.one_node = len(set(hosts)) == 1
        self._group = None
        if size > 1:
            self._group, _ = dist.new_subgroups(size)
        if self.distributed:
            # vLLM's external launcher reads torchrun's variables; Lightning's sets none.
            os.environ["RANK"] = str(dist.get_rank())
            if device.index is not None:
                os.environ["LOCAL_RANK"] = str(device.index)  # which GPU vLLM opens
        elif device.index:
            raise UserError(
                f"model.engine: a single process must use GPU 0 with VLLM, got {device}; set "
                "CUDA_VISIBLE_DEVICES instead of trainer.devices"
            )

    def together(self, request: RolloutRequest) -> tuple[RolloutRequest, slice]:
        """The group's prompts as one request, and which of its rollouts are this process's."""
        if self._group is None:
            return request, slice(None)
        parts: list[tuple[list[list[int]], list[list[int]]]] = [([], [])] * self.size
        dist.all_gather_object(parts, (request.prompts, request.seeds), self._group)
        own = dist.get_rank() % self.size
        start = sum(len(group) for _, seeds in parts[:own] for group in seeds)
        rows = slice(start, start + request.groups.rollouts)
        prompts = [prompt for part, _ in parts for prompt in part]
        seeds = [seed for _, part in parts for seed in part]
        return replace(request, prompts=prompts, seeds=seeds), rows


def own_rows(completions: Completions, rows: slice) -> Completions:
    """The part of a group's completions that this process asked for."""
    lengths_N = completions.lengths_N[rows]
    width = int(torch.max(lengths_N))
    return Completions(
        completions.tokens_NT[rows, :width],
        lengths_N,
        completions.finish[rows],
        completions.logp_NT[rows, :width],
    )
