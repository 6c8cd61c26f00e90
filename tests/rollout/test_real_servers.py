"""Real vLLM servers on a CPU, and the real sender of weights up to the wire."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_vllm import serving
from helpers import EvenIsRight, fit, make_data, make_module, make_trainer
from near import rounded
from processes import OUTER_LIMIT, free_port, run_ranks

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.groups import Groups
from fgexpo.model.loading import load_model, load_tokenizer
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA
from fgexpo.model.sequences import join
from fgexpo.parallel.whole_weights import full_weights
from fgexpo.rollout import (
    Native,
    NCCLTransfer,
    RolloutRequest,
    Sampling,
    VLLMServer,
    WeightTransfer,
)
from fgexpo.rollout.vllm.connection import Connection
from fgexpo.rollout.vllm.server_facts import FLAT_FLAG
from fgexpo.rollout.vllm.weight_stream import WeightStream
from fgexpo.seeding import hash_seed
from fgexpo.tasks.tiny_model import TinyQwen2
from fgexpo.templates import StopStrings
from fgexpo.update.mismatch import DIFFERENCE

pytestmark = pytest.mark.vllm
LOGP = 1e-5
# The last is longer than a block of vLLM's prefix cache on a CPU, which has 128 tokens.
PROMPTS = [[3, 4, 12, 5, 6, 15], [8, 12, 9], [7] * 140]
FOURS = Groups([4, 4, 4])
# Heads of 32 channels, which vLLM's CPU kernels support.
SHAPE = TinyQwen2(
    hidden_size=64, layers=2, heads=2, kv_heads=2, intermediate_size=128, initializer_range=0.2
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("vllm")
    torch.manual_seed(0)
    SHAPE.model().save_pretrained(path)
    SHAPE.tokenizer().save_pretrained(path)
    return str(path)


def request(**sampling):
    seeds = [[hash_seed(0, q, g) for g in range(4)] for q in range(len(PROMPTS))]
    options = Sampling(**{"max_new_tokens": 16, **sampling})
    return RolloutRequest(PROMPTS, seeds, options, [1], torch.device("cpu"), 200)


def rows(completions):
    lengths = completions.lengths_N.tolist()
    return [row[:n] for row, n in zip(completions.tokens_NT.tolist(), lengths, strict=True)]


def agrees(engine, policy, **sampling):
    """The engine's log-probs of its rollouts are this policy's."""
    found = engine.generate(policy, request(**sampling))
    temperature = sampling.get("temperature") or 1.0  # greedy ones are the policy's own
    expected, _ = completion_logprobs(policy, join(PROMPTS, found, FOURS), temperature)
    rounded(found.logp_NT, expected, LOGP)
    return found


class ByDisk(WeightTransfer):
    """Servers on a CPU have no NCCL, but can read a folder."""

    def __init__(self, folder, source):
        self.folder, self.source = folder, source

    def send(self, policy, urls):
        shutil.copytree(self.source, self.folder, dirs_exist_ok=True)
        policy.save_pretrained(self.folder)
        content = {"method": "reload_weights", "kwargs": {"weights_path": str(self.folder)}}
        for url in urls:
            Connection(url, 60.0).post("collective_rpc", content)


@contextmanager
def started(folder, log, *flags):
    """Servers, one for each list of flags; yields their processes by address."""
    servers = {}
    for number, more in enumerate(flags):
        port = free_port()
        command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder),
            *("--port", str(port), "--dtype", "float32", "--max-model-len", "200"),
            *("--gpu-memory-utilization", "0.05", "--enforce-eager"),
            *("--logprobs-mode", "processed_logprobs", *more),
        ]
        with open(f"{log}-{number}", "w") as said:
            servers[f"http://127.0.0.1:{port}"] = subprocess.Popen(
                command,
                stdout=said,
                stderr=said,
                # Left to itself, each server would bind its threads to the same cores.
                env={
                    **os.environ,
                    "VLLM_SERVER_DEV_MODE": "1",
                    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                },
                start_new_session=True,
            )
    try:
        for number, (url, server) in enumerate(servers.items()):
            wait_until_well(url, server, f"{log}-{number}")
        yield servers
    finally:
        for server in servers.values():
            kill(server)


def kill(server):
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)  # its engine is a process of its own
        server.wait()


def wait_until_well(url, server, log, seconds=OUTER_LIMIT):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    with open(log) as said:
        pytest.fail(said.read()[-3000:])


def test_two_real_servers_sample_from_the_policy_until_one_dies(folder, tmp_path):
    policy = load_model(folder)
    with started(folder, tmp_path / "log", FLAT_FLAG.split(), ["--enable-scale-out"]) as servers:
        flat, plain = servers
        transfer = ByDisk(tmp_path / "sent", folder)
        both, other = (VLLMServer(urls, transfer) for urls in ([flat, plain], plain))
        with pytest.raises(UserError, match=f"{flat} .* was started without --weight-transfer"):
            VLLMServer([flat, plain]).check_weights(adapters=False, sharded=False)
        for sampling in ({}, {"temperature": 0.6}, {"temperature": 0.0}):
            found = agrees(both, policy, **sampling)
            if not sampling:
                # Whichever server a question goes to, and in whichever form it answers.
                alone = other.generate(policy, request())
                assert rows(alone) == rows(found)
                rounded(alone.logp_NT, found.logp_NT, LOGP)
        assert both._facts[0].flat and not both._facts[1].flat and both._facts[1].json

        stops = StopStrings(("12", "x=", "-+", "7"), load_tokenizer(folder))
        greedy = replace(request(temperature=0.0), stop_strings=stops)
        found, expected = both.generate(policy, greedy), Native().generate(policy, greedy)
        assert rows(found) == rows(expected) and found.finish == expected.finish

        # Both take over new weights, and neither keeps what its cache held.
        with torch.no_grad():
            for weight in policy.parameters():
                weight.mul_(1.2)
        both.sync(policy)
        agrees(both, policy)

        # A run, whose every step's rollouts are those of the weights that it has then.
        both.sync(policy)  # the run has a policy of its own
        options = {"dtype": "float32", "verifier": EvenIsRight(), "warmup_steps": 1}
        _, _, recorder = fit(folder, tmp_path / "run", 3, engine=both, **options)
        assert all(metrics[DIFFERENCE] < LOGP for metrics in recorder.metrics)

        long = replace(request(max_new_tokens=60), prompts=[[n] for n in range(2, 18)] * 16)
        long.seeds = [[hash_seed(1, q, g) for g in range(4)] for q in range(256)]
        both.generate(
            policy, request()
        )  # takes over the run's last weights, so what follows samples
        threading.Timer(1.0, kill, [servers[plain]]).start()
        began = time.monotonic()
        with pytest.raises(EnvironmentFailure, match=f"{plain} died while it sampled"):
            while time.monotonic() < began + 30:
                both.generate(policy, long)
        assert time.monotonic() < began + 15


class Group:
    """In place of the NCCL group: what is broadcast."""

    def __init__(self):
        self.sent, self.chunks = [], []

    def broadcast(self, tensor, src, stream=None):
        self.sent.append(tensor.clone())


@pytest.fixture
def group(monkeypatch):
    return without_nccl(monkeypatch)


def without_nccl(monkeypatch):
    """vLLM's own sender on a CPU: its group is replaced, and what needs CUDA streams."""
    from vllm.distributed.weight_transfer import nccl_engine
    from vllm.distributed.weight_transfer.packed_tensor import pack_tensors

    made = Group()

    def producer(iterator, group, src, post_iter_func, buffer_size_bytes, num_buffers):
        while (chunk := pack_tensors(iterator, post_iter_func, 20_000)) is not None:
            group.broadcast(chunk.packed_tensor, src=src)
            made.chunks.append(chunk)

    monkeypatch.setattr(nccl_engine, "open_trainer_endpoint", lambda info: made)
    monkeypatch.setattr(nccl_engine, "packed_nccl_broadcast_producer", producer)
    return made


def received(group):
    """The weights that a worker would have taken out of the packed bytes."""
    from vllm.distributed.weight_transfer.packed_tensor import unpack_tensor

    found = {}
    for sent, chunk in zip(group.sent, group.chunks, strict=True):
        parts = (chunk.names, chunk.shapes, chunk.dtypes, chunk.tensor_sizes)
        found |= dict(unpack_tensor(sent, *parts))
    return found


@pytest.mark.parametrize("adapters", [False, True])
def test_vllms_own_sender_packs_every_weight_as_it_was_told(folder, group, adapters):
    policy = load_model(folder)
    names = list(policy.state_dict())
    if adapters:
        peft = pytest.importorskip("peft")
        lora = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        policy = peft.get_peft_model(policy, lora)
    expected = dict(WeightStream(policy, "bfloat16"))
    with serving(dtype="torch.bfloat16") as a, serving(dtype="torch.bfloat16") as b:
        transfer = NCCLTransfer()
        for _ in range(2):
            group.sent, group.chunks = [], []
            transfer.send(policy, [a.url, b.url])
            found = received(group)
            assert len(group.sent) > 2 and list(found) == names
            for name, weight in found.items():
                assert weight.dtype == torch.bfloat16 and torch.equal(weight, expected[name])
        assert a.calls[0][1]["init_info"]["rank_offset"] == 1
        assert b.calls[0][1]["init_info"]["rank_offset"] == 3
        for server in (a, b):
            paths = [path.strip("/") for path, _ in server.calls]
            round_trip = ["start_weight_update", "update_weights", "finish_weight_update"]
            assert paths == ["init_weight_transfer_engine", *round_trip, *round_trip]
            told = server.calls[2][1]["update_info"]
            assert told["names"] == names and set(told["dtype_names"]) == {"bfloat16"}
            shapes = [list(expected[name].shape) for name in names]
            assert told["shapes"] == shapes


def send_sharded(folder, url, out, options):
    with pytest.MonkeyPatch.context() as monkeypatch:
        group = without_nccl(monkeypatch)
        trainer = make_trainer(Path(out), 1, devices=2, strategy="fsdp2")
        module = make_module(folder, dtype="float32", **options)
        trainer.fit(module, make_data())
        transfer = NCCLTransfer()
        for _ in range(2):
            group.sent, group.chunks = [], []
            transfer.send(module.policy, [url])
        torch.save(
            (received(group), dict(full_weights(module.policy))), f"{out}/{trainer.global_rank}"
        )


@pytest.mark.parametrize("lora", [None, LoRA(rank=2)])
def test_a_sharded_policy_is_sent_whole_by_the_first_process(folder, tmp_path, lora):
    with serving(dtype="torch.bfloat16") as server:
        arguments = (folder, server.url, str(tmp_path), {"lora": lora})
        run_ranks(send_sharded, *arguments, log=tmp_path / "log")
        assert [path for path, _ in server.calls].count("/update_weights") == 2
        told = server.calls[-2][1]["update_info"]["names"]
    (sent, whole), (by_other, _) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert by_other == {} and list(sent) == list(whole) == told == list(
        load_model(folder).state_dict()
    )
    for name, weight in whole.items():
        assert torch.equal(sent[name], weight.bfloat16())
