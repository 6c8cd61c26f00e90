"""vLLM's own server on a second GPU: the NCCL transfer of weights, and generation over HTTP."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fgexpo.rollout import NCCLTransfer, VLLMServer

from .agreement import agreement
from .clock import seconds_of
from .engine import installed
from .report import Finding, Note, Row
from .scale import Setting
from .work import open_policy

START_SECONDS = 600


def server(setting: Setting) -> Iterator[Finding]:
    """Start a server with its own weights, send it the policy's, and compare."""
    if not installed():
        yield Note("vLLM is not installed here: not run.")
        return
    if setting.device != "cuda" or torch.cuda.device_count() < 2:
        yield Note("Needs a second GPU: not run.")
        return
    policy = open_policy(setting).eval()
    began = time.perf_counter()
    with running(policy.config, setting) as url:
        yield _event("start the server", time.perf_counter() - began)
        transfer = NCCLTransfer(port=free_port())
        for what in ("connect and send all weights", "send all weights again"):
            yield _event(what, seconds_of(lambda: transfer.send(policy, url), setting.device))
        # It starts with other random weights, so agreement shows that the policy's have arrived.
        yield agreement("the server", VLLMServer(url, transfer), policy, setting)


@contextmanager
def running(config: Any, setting: Setting) -> Iterator[str]:
    """A server with this configuration and random weights, on the second GPU."""
    port, decoding = free_port(), setting.size.vllm
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        command = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder),
            *("--port", str(port), "--load-format", "dummy", "--skip-tokenizer-init"),
            *("--max-model-len", str(decoding.prompt + decoding.new)),
            *("--logprobs-mode", "processed_logprobs", "--enable-scale-out"),
        ]
        if setting.device == "cuda":
            command += ["--dtype", "bfloat16", "--weight-transfer-config", '{"backend": "nccl"}']
        else:
            command += ["--dtype", "float32", "--gpu-memory-utilization", "0.1", "--enforce-eager"]
        started = subprocess.Popen(command, env=_environment())
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, started)
            yield url
        finally:
            started.terminate()
            started.wait(60)


def free_port() -> int:
    """A port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _environment() -> dict[str, str]:
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    second = seen.split(",")[1] if seen and "," in seen else "1"
    return {**os.environ, "CUDA_VISIBLE_DEVICES": second, "VLLM_SERVER_DEV_MODE": "1"}


def _wait(url: str, started: Any) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if started.poll() is not None:
            raise RuntimeError(f"vLLM's server ended with status {started.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"vLLM's server was not well after {START_SECONDS} s")


def _event(what: str, seconds: float) -> Row:
    return Row("Life of the server", {"what": what, "seconds": f"{seconds:.2f}"})
