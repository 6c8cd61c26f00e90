"""A vLLM server of a few lines: the addresses that are used, and what can go wrong with them."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

from fgexpo.rollout.vllm.answers import write_flat

GENERATE, FLAT = "/inference/v1/generate", "/fgexpo/generate"
DEV = ("/reset_prefix_cache", "/init_weight_transfer_engine", "/start_weight_update")
DEV += ("/update_weights", "/finish_weight_update")


class Handler(BaseHTTPRequestHandler):
    """Each prompt's rollouts repeat its last token; the log-prob of each is -0.5."""

    def do_GET(self):
        state, path = self.server.state, self.path.partition("?")[0]
        if path == "/health":
            state.health(self)
            return self.answer(200, {})
        if path in state.posts:
            return self.answer(405, {})
        content = state.gets.get(path)
        return self.answer(404 if content is None else 200, content or {})

    def do_POST(self):
        state = self.server.state
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == GENERATE and not state.enabled:
            return self.answer(403, {"error": "Scale-out endpoints are disabled"})
        if self.path not in state.posts:
            return self.answer(404, {})
        if self.path == GENERATE and not content:
            return self.answer(422, {})  # how it is found out that the address is there
        state.calls.append((self.path, content))
        if self.path in (GENERATE, FLAT):
            state.before(self)
            return self.rollouts(content)
        if self.path == "/update_weights":
            state.weights(self)
        return self.answer(200, {"success": state.resets})

    def rollouts(self, content):
        last, n = content["token_ids"][-1], content["sampling_params"]["n"]
        n = self.server.state.gives or n
        if self.path == FLAT:
            flat = write_flat([[last]] * n, [[-0.5]] * n, ["stop"] * n)
            return self.answer(200, flat)
        logprobs = {"content": [{"token_id": last, "logprob": -0.5}]}
        choices = [
            {"index": g, "token_ids": [last], "logprobs": logprobs, "finish_reason": "stop"}
            for g in reversed(range(n))
        ]
        return self.answer(200, {"choices": choices})

    def answer(self, code, content):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        return  # callers hang up


def do_nothing(handler):
    return


@contextmanager
def serving(calls=None, flat=True, enabled=True, version="0.32.0", longest=64, model="m", **config):
    """A server; yields its state, with ``url`` and the ``calls`` that it got.

    ``health``, ``before`` and ``weights`` are called before an answer; ``config`` replaces
    settings of vLLM's; ``gives`` is another number of rollouts than was asked for.
    """
    settings = {"logprobs_mode": "processed_logprobs", "dtype": "torch.float32", "backend": "nccl"}
    settings |= config
    backend = settings.pop("backend")
    info = {
        "model_config": settings,
        "weight_transfer_config": {"backend": backend} if backend else None,
    }
    state = SimpleNamespace(
        calls=[] if calls is None else calls,
        posts={GENERATE, *DEV, *((FLAT,) if flat else ())},
        enabled=enabled,
        resets=True,
        health=do_nothing,
        before=do_nothing,
        weights=do_nothing,
        gives=None,
        gets={
            "/version": {"version": version},
            "/v1/models": {"data": [{"id": model, "root": model, "max_model_len": longest}]},
            "/get_world_size": {"world_size": 2},
            "/server_info": {"vllm_config": info},
        },
    )
    http = Server(("127.0.0.1", 0), Handler)
    http.state = state
    state.url = f"http://127.0.0.1:{http.server_port}"
    # A short poll: shutting down waits for it.
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()


def cut_off(handler):
    """As when the process is killed: the connection is closed without an answer."""
    handler.connection.close()
    raise ConnectionAbortedError


def hang(seconds=30):
    """Keeps the caller waiting."""

    def wait(handler):
        time.sleep(seconds)

    return wait
