"""vLLM packs weights on changing CUDA streams: none reads a weight before it is there.

Stand-ins for streams on a CPU: what they would do at once, and what only in order, is kept count
of for each operation of torch.
"""

from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from processes import run_ranks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fgexpo.model.loading import load_model
from fgexpo.model.lora import LoRA, adapt
from fgexpo.rollout.vllm.weight_stream import WeightStream


class Stream:
    """What it has queued, and how much of each other stream it has waited for."""

    def __init__(self):
        self.device = torch.device("cpu")
        self.queued, self.waited = 0, {}

    def wait_stream(self, other):
        for stream, count in [*other.waited.items(), (other, other.queued)]:
            self.waited[stream] = max(count, self.waited.get(stream, 0))


class Streams(TorchDispatchMode):
    """Every operation is queued on the current stream; ``races`` are what it reads too early."""

    def __init__(self):
        super().__init__()
        self.current = Stream()
        self.written, self.kept, self.alive, self.races = {}, set(), [], []

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def keep(self, tensor, stream):
        self.kept.add((memory(tensor), stream))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.current.queued += 1
        read = plain((args, kwargs))
        for tensor in read:
            writer, count = self.written.get(memory(tensor), (self.current, 0))
            if writer is not self.current:
                if self.current.waited.get(writer, 0) < count:
                    self.races.append(f"{func} before it is written")
                kept = (memory(tensor), self.current) in self.kept
                if func is torch.ops.aten.cat.default and not kept:
                    self.races.append(f"{func} of memory that may be used again")
        old = {memory(tensor) for tensor in read}
        for tensor in plain(found):
            self.alive.append(tensor)  # so that an address stands for one tensor
            if memory(tensor) not in old or func._schema.is_mutable:
                self.written[memory(tensor)] = self.current, self.current.queued
        return found


def memory(tensor):
    return tensor.untyped_storage().data_ptr()


def plain(tree):
    leaves = tree_leaves(tree)
    return [x for x in leaves if isinstance(x, torch.Tensor) and not isinstance(x, DTensor)]


def pack(weights, streams, chunk_bytes):
    """As vLLM's sender does: chunk after chunk, on one of two streams and then the other."""
    sides, chunks, more = [Stream(), Stream()], [], True
    while more:
        with streams.stream(sides[len(chunks) % 2]):
            parts, size, more = [], 0, False
            for _, weight in weights:
                parts.append(weight.contiguous().view(-1).view(torch.uint8))
                size += len(parts[-1])
                if size > chunk_bytes:
                    more = True
                    break
            chunks.append(torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8))
    return chunks


def sent(policy, ordered):
    """The chunks that are packed, and what is read too early."""
    streams = Streams()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: ordered)
        patch.setattr(torch.cuda, "current_stream", lambda: streams.current)
        patch.setattr(torch.cuda, "stream", streams.stream)
        patch.setattr(torch.Tensor, "record_stream", lambda *pair: streams.keep(*pair))
        source = WeightStream(policy, None)
        patch.setattr(torch.cuda, "is_available", lambda: False)
        with streams:
            return pack(iter(source), streams, 5000), streams.races


def sending(folder, sharded, lora):
    policy = load_model(folder, "float32")
    if lora:
        adapt(policy, LoRA(rank=2), seed=0)
    if sharded:
        dist.init_process_group("gloo", rank=0, world_size=1)
        fully_shard(policy, mesh=init_device_mesh("cpu", (1,)))
    expected = torch.cat([w.reshape(-1).view(torch.uint8) for _, w in WeightStream(policy, None)])
    for ordered in (True, False):
        chunks, races = sent(policy, ordered)
        assert len(chunks) > 4 and torch.equal(torch.cat(chunks), expected)
        if ordered:
            assert not races, races
        elif not lora:
            # A bucket would be read too early, and this test sees it. (Merged weights are made
            # one by one, and are read where they are made.)
            assert {race.split(" ", 1)[1] for race in races} == {
                "before it is written",
                "of memory that may be used again",
            }
    if sharded:
        dist.destroy_process_group()


@pytest.mark.parametrize(("sharded", "lora"), [(True, False), (True, True), (False, True)])
def test_no_stream_reads_a_weight_before_it_is_there(model_folder, tmp_path, sharded, lora):
    run_ranks(sending, model_folder, sharded, lora, log=tmp_path / "log", world_size=1)
