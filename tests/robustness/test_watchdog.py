"""Planted hangs and deaths: every process ends soon, with a sentence that names who."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import EvenIsRight, Parity, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from processes import OUTER_LIMIT, start, start_ranks, wait

from fgexpo import heartbeat
from fgexpo.callbacks import Watchdog, watchdog
from fgexpo.robustness.watchdog import store as exchange
from fgexpo.robustness.watchdog import thread as monitor
from fgexpo.robustness.watchdog.thread import Monitor
from fgexpo.rollout import Native

PLANTED_STEP = 2


class Planted(Callback):
    """What is to happen, to which rank, in the middle of a step."""

    def __init__(self, what, rank, folder, devices):
        self.what, self.rank, self.folder = what, rank, folder
        self.others = {*range(devices)} - {rank}
        self.module, self.in_update = None, False

    def on_train_start(self, trainer, pl_module):
        self.module = pl_module

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if self.in_update:
            self.strike()

    def strike(self):
        if self.module.rollout_step == PLANTED_STEP and self.module.global_rank == self.rank:
            print("strikes", flush=True)
            _write(self.folder / "struck", str(heartbeat.read().position))
            for rank in self.others:
                wait_for(self.folder / f"met-{rank}")  # else its death would be its silence
            (self.folder / "goes").touch()
            self.what()


def _write(path, text):
    """Whole, since others look out for it."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.rename(path)


class Verifier(EvenIsRight):
    def verify(self, questions, texts):
        self.planted.strike()
        return super().verify(questions, texts)


class Prize(Parity):
    def score(self, rollouts):
        self.planted.strike()
        return super().score(rollouts)


class Engine(Native):
    def generate(self, policy, request):
        self.planted.strike()
        return super().generate(policy, request)


def hang():
    time.sleep(1000)


def fail():
    raise ValueError("planted failure")


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def freeze():
    os.kill(os.getpid(), signal.SIGSTOP)


def allocate():
    torch.empty(2**55)


NEVER = 1000.0
# What is to be noticed first; the other limits are out of reach, however busy the machine is.
LIMITS = {hang: {"timeout": 4.0}, freeze: {"silence": 3.0}}


class Watching(Monitor):
    """Its clocks stand still until the strike has been seen by whoever is to name it.

    From then on nothing moves any more, so how fast this machine is decides nothing.
    """

    def __init__(self, folder, planted, *arguments, **options):
        self.folder, self.planted, self.held = Path(folder), planted, time.monotonic()
        self.others = {*range(arguments[1])} - {planted.rank}
        super().__init__(*arguments, **options)
        self.silence = LIMITS.get(planted.what, {}).get("silence", NEVER)

    def monotonic(self):
        if self.met() and self.lags():
            self.held += 0.5
        return self.held

    def process_time(self):
        """Nor does the processor's: who hangs or waits uses none."""
        return 0.0

    def met(self):
        """Whether the struck one has gone ahead, once all have seen what it was doing."""
        struck = self.folder / "struck"
        report, *_ = self._watcher._seen.get(self.planted.rank, (None,))
        known = self.planted.rank in self._watcher._met and report is not None
        # Its last report before the strike is to say where it is.
        if known and struck.exists() and report.position >= int(struck.read_text()):
            (self.folder / f"met-{self.rank}").touch()
        return (self.folder / "goes").exists()

    def lags(self):
        """Whether the struck one has come least far, as this process knows it."""
        if self.planted.what is not hang:
            return True
        at = {rank: report.position for rank, (report, *_) in self._watcher._seen.items()}
        return all(at[self.planted.rank] < at[rank] for rank in self.others)

    def fail(self, exception):
        """A process that fails stays until the others have named it."""
        secondary = super().fail(exception)
        if self.planted.what is fail and self.rank == self.planted.rank:
            for rank in self.others:
                wait_for(self.folder / f"concluded-{rank}")
        return secondary

    def sleep(self, seconds):
        """Before it leaves: all have concluded, and a process that hangs has said itself where."""
        (self.folder / f"concluded-{self.rank}").touch()
        if self._error is not None:
            time.sleep(seconds)
        elif self.planted.what is hang:
            for rank in {*self.others, self.planted.rank}:
                wait_for(self.folder / f"concluded-{rank}")


def wait_for(path):
    """Until another process has made the file; the limit is there for a real failure alone."""
    for _ in range(12000):
        if path.exists():
            return
        time.sleep(0.01)
    raise TimeoutError(str(path))


def train(folder, tmp_path, devices, where, what, rank):
    planted = Planted(what, rank, Path(tmp_path), devices)
    planted.in_update = where == "update"
    module = make_module(folder, verifier=Verifier(), engine=Engine(), rewards=[Prize()])
    parts = {"verifier": module.verifier, "engine": module.engine, "reward": module.rewards[0]}
    for name, part in parts.items():
        part.planted = planted if name == where else Planted(what, -1, Path(tmp_path), devices)
        part.planted.module = module

    def watching(*arguments, **options):
        made = Watching(tmp_path, planted, *arguments, **options)
        monitor.time, exchange.time = made, SimpleNamespace(monotonic=lambda: made.held)
        return made

    watchdog.Monitor = watching
    monitor.TICK_SECONDS = exchange.TICK_SECONDS = 0.1
    if what is fail:
        monitor.LINGER_SECONDS = NEVER  # it goes on once it has been named
    trainer = make_trainer(
        Path(tmp_path),
        5,
        [Watchdog(LIMITS.get(what, {}).get("timeout", NEVER)), planted],
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
    )
    trainer.fit(module, make_data())


TWO = [
    # who, what, the sentence
    ("verifier", hang, 1, "has made no progress for", "'verify by Verifier'"),
    ("update", hang, 1, "has made no progress for", "'update'"),
    ("reward", hang, 1, "has made no progress for", "'reward by Prize'"),
    ("engine", fail, 1, "failed in phase 'generate by Engine': ValueError: planted failure", ""),
    ("engine", kill, 1, "has died in phase", "'generate by Engine'"),
    ("verifier", freeze, 1, "has given no sign of life", "in phase"),
    ("verifier", kill, 0, "has died", ""),
    ("verifier", freeze, 0, "has given no sign of life", ""),
]


@pytest.mark.parametrize(
    ("where", "what", "rank", "words", "phase"),
    TWO,
    ids=[f"{c[0]}-{c[1].__name__}-{c[2]}" for c in TWO],
)
def test_every_rank_names_the_one_to_blame(model_folder, tmp_path, where, what, rank, words, phase):
    processes = start_ranks(
        train, model_folder, str(tmp_path), 2, where, what, rank, log=tmp_path / "log"
    )
    survivor = processes[1 - rank]
    survivor.join(OUTER_LIMIT)
    if what is freeze:
        processes[rank].kill()
    codes = wait(processes)
    logs = [(tmp_path / f"log-{r}").read_text() for r in range(2)]
    assert "strikes" in logs[rank], logs[rank]
    assert codes[1 - rank] == 1, (codes, logs)
    sentence = [line for line in logs[1 - rank].splitlines() if line.startswith("error: rank ")]
    assert len(sentence) == 1, logs[1 - rank]
    assert sentence[0].startswith(f"error: rank {rank} (") and words in sentence[0]
    assert phase in sentence[0]
    if what is fail:
        assert codes[rank] == 1 and "ValueError: planted failure" in logs[rank]
    if what is hang:
        assert codes[rank] == 1 and "test_watchdog.py" in logs[rank], "it shows where it hangs"
        assert "if it is only slow, raise watchdog.timeout (now 4 s)" in sentence[0]


def test_a_single_process_that_hangs(model_folder, tmp_path):
    process = start(train, model_folder, str(tmp_path), 1, "engine", hang, 0, log=tmp_path / "log")
    assert wait([process]) == [1]
    log = (tmp_path / "log").read_text()
    assert "error: rank 0 (" in log and "'generate by Engine'" in log and "in hang" in log


def test_every_batch_counts_as_progress():
    before = heartbeat.read().beats
    Watchdog().on_train_batch_end(None, None, None, None, 0)
    Watchdog().on_validation_batch_end(None, None, None, None, 0)
    assert heartbeat.read().beats == before + 2


@pytest.mark.parametrize("timeout", [0.0, 2.0])
def test_bad_limits(timeout):
    with pytest.raises(ValueError, match=r"watchdog\.timeout must be above 2\.0 s"):
        Watchdog(timeout)


def test_out_of_memory_says_where_and_what_to_lower(model_folder, tmp_path):
    process = start(
        train, model_folder, str(tmp_path), 1, "engine", allocate, 0, log=tmp_path / "log"
    )
    assert wait([process]) == [1]
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert "out of memory while sampling 4 x 4 rollouts of up to 8 tokens" in last
    assert "lower model.engine.max_rows or model.sampling.max_new_tokens" in last
    assert "tried to allocate" in last
