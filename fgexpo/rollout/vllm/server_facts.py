"""What a running server is and offers, asked before it is needed; and the flags that it lacks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import EnvironmentFailure, UserError
from .answers import FLAT_PATH, JSON_PATH
from .connection import Connection, Refused, Unreachable

# The first answer takes seconds: vLLM describes its machine in it.
INFO_SECONDS = 120.0
BACKEND = '--weight-transfer-config \'{"backend": "nccl"}\''
FLAT_FLAG = "--middleware fgexpo.rollout.vllm.flat_answers.FlatAnswers"
LOGPROBS_FLAG = "--logprobs-mode processed_logprobs"
COMMAND = f"VLLM_SERVER_DEV_MODE=1 vllm serve MODEL {LOGPROBS_FLAG} {FLAT_FLAG} {BACKEND}"


@dataclass(frozen=True)
class ServerFacts:
    """One server.

    Attributes:
        url: of the server.
        version: of vLLM.
        model: what it was started with.
        longest: tokens of a prompt and its completion (``--max-model-len``).
        flat: it answers in the flat form.
        json: it has vLLM's token endpoint.
        resets: it can be told to drop its prefix cache.
        receives: it has the addresses of vLLM's weight transfer.
        workers: its processes that hold weights; None if it does not say.
        dtype: of its weights; None if it does not say.
        logprobs_mode: None if it does not say.
        backend: of its weight transfer; None if it does not say, "" if there is none.
    """

    url: str
    version: str
    model: str
    longest: int
    flat: bool
    json: bool
    resets: bool
    receives: bool
    workers: int | None = None
    dtype: str | None = None
    logprobs_mode: str | None = None
    backend: str | None = None


def ask(server: Connection) -> ServerFacts:
    """What this server says of itself.

    Raises:
        EnvironmentFailure: when it cannot be reached.
        UserError: when what answers is not a vLLM server.
    """
    try:
        version = json.loads(server.get("version"))["version"]
        model = json.loads(server.get("v1/models"))["data"][0]
        longest = int(model["max_model_len"])
    except Unreachable as error:
        raise EnvironmentFailure(
            f"model.engine.url: {error}; start a server there with `{COMMAND}`, and wait until its "
            "/health answers"
        ) from error
    except (Refused, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"model.engine.url: {server.url} does not answer as a vLLM server does ({error}); "
            f"start one with `{COMMAND}`"
        ) from error
    return ServerFacts(
        url=server.url,
        version=version,
        model=model.get("root") or model["id"],
        longest=longest,
        # Without content these are refused; 404 says that there is no such address, 403 that it is
        # switched off.
        flat=server.status("GET", FLAT_PATH) != 404,
        json=server.status("POST", JSON_PATH) not in (403, 404),
        resets=server.status("GET", "reset_prefix_cache") != 404,
        receives=server.status("GET", "init_weight_transfer_engine") != 404,
        **_configuration(server),
    )


def _configuration(server: Connection) -> dict[str, Any]:
    """What vLLM says of its settings in its development mode; nothing in another version's form."""
    found: dict[str, Any] = {}
    try:
        found["workers"] = int(json.loads(server.get("get_world_size"))["world_size"])
        info = json.loads(server.get("server_info?config_format=json", INFO_SECONDS))
        config = info["vllm_config"]
        found["dtype"] = str(config["model_config"]["dtype"]).removeprefix("torch.")
        found["logprobs_mode"] = str(config["model_config"]["logprobs_mode"])
        found["backend"] = (config["weight_transfer_config"] or {}).get("backend", "")
    except (Refused, ValueError, KeyError, TypeError):
        return found
    return found


def check_servers(servers: Sequence[ServerFacts], transfers: bool) -> None:
    """Check that these servers can be sampled from, and sent weights by NCCL.

    Args:
        servers: all of a run's.
        transfers: weights go by NCCL.

    Raises:
        UserError: naming a server and what to start it with.
    """
    for server in servers:
        lacking = [flag for flag, there in _flags(server, transfers).items() if not there]
        if lacking:
            raise UserError(
                f"model.engine.url: {server.url} (vLLM {server.version}) was started without "
                f"{', '.join(lacking)}; start it with `{COMMAND}`"
            )
    first = servers[0]
    for other in servers[1:]:
        for what in ("version", "model", "dtype"):
            one, two = getattr(first, what), getattr(other, what)
            if one != two:
                raise UserError(
                    f"model.engine.url: all servers must have the same {what}, but {first.url} has "
                    f"{one} and {other.url} has {two}"
                )


def check_longest(servers: Sequence[ServerFacts], longest: int) -> None:
    """Check that the run's longest prompt with its completion fits every server.

    Raises:
        UserError: naming a server.
    """
    for server in servers:
        if server.longest < longest:
            raise UserError(
                f"model.engine.url: {server.url} takes {server.longest} tokens of prompt and "
                f"completion together, and this run has up to {longest}; start it with "
                f"--max-model-len {longest}, or lower model.max_prompt_tokens or max_new_tokens"
            )


def _flags(server: ServerFacts, transfers: bool) -> dict[str, bool]:
    """Whether each of the flags that matter was there."""
    flags = {
        "VLLM_SERVER_DEV_MODE=1": server.resets and (server.receives or not transfers),
        f"{FLAT_FLAG} (or --enable-scale-out)": server.flat or server.json,
        LOGPROBS_FLAG: server.logprobs_mode in (None, "processed_logprobs"),
    }
    if transfers:
        flags[BACKEND] = server.backend in (None, "nccl")
    return flags
