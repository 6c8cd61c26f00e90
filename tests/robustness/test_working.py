"""A slow pass on a CPU is not taken for a hang; a hang still ends in about the time promised."""

from types import SimpleNamespace

import pytest
import torch

from fgexpo import heartbeat
from fgexpo.heartbeat import PATIENT
from fgexpo.model.beats import beat_by_layer
from fgexpo.model.loading import load_model
from fgexpo.robustness.watchdog import thread
from fgexpo.robustness.watchdog.culprit import Report, Watcher, find_culprit
from fgexpo.robustness.watchdog.working import SHARE, Working

TIMEOUT = 45.0


def ends_at(seconds, patience=1.0):
    """When the watchdog ends a run whose process does in each second what ``seconds`` says.

    Args:
        seconds: for each second: whether it computes, its processor time, whether a beat comes.
        patience: of the phase.
    """
    working, watcher = Working((PATIENT - 1) * TIMEOUT), Watcher("here")
    beats, used = 0, 0.0
    for now, (computes, processor, beat) in enumerate(seconds):
        beats, used = beats + beat, used + processor
        made = beats + working.look(beats, computes, used, float(now))
        watcher.see(0, Report("here", 1, now, "update", 5, made, patience), float(now))
        if find_culprit(watcher.views(float(now), lambda pid: True), TIMEOUT, 30.0):
            return now
    return None


PASS, STARVED, WAITS = (True, 0.9, 0), (True, 1.2 * SHARE, 0), (True, 0.4 * SHARE, 0)
BEAT, LOOP = (True, 0.9, 1), (False, 1.0, 0)


@pytest.mark.parametrize("pace", [PASS, STARVED])
def test_a_layer_of_six_minutes_is_no_hang(pace):
    """Layer after layer, each with a beat at its end only."""
    assert ends_at([BEAT, *[pace] * 360] * 10) is None


@pytest.mark.parametrize(
    ("before", "then", "limit"),
    [
        ([BEAT], WAITS, TIMEOUT),  # a collective, a lock, a socket
        ([BEAT, *[PASS] * 100], WAITS, TIMEOUT),  # after a long pass
        ([BEAT], LOOP, TIMEOUT),  # a verifier or a callback that never ends
        ([BEAT], PASS, PATIENT * TIMEOUT),  # a pass that never ends
    ],
)
def test_a_hang_ends_in_the_time_promised(before, then, limit):
    ended = ends_at([*before, *[then] * 1000])
    assert ended is not None and limit <= ended - len(before) + 1 <= limit + 3


def test_who_waits_for_a_slow_pass_in_the_same_phase_is_not_blamed():
    """Rank 0 waits in DDP's all-reduce; rank 1 is within a layer of six minutes, then hangs."""
    working, watcher, ended = Working((PATIENT - 1) * TIMEOUT), Watcher("here"), None
    for now in range(1000):
        made = working.look(1, True, 0.9 * min(now, 360), float(now))
        watcher.see(0, Report("here", 1, now, "update", 5, 1), float(now))
        watcher.see(1, Report("here", 2, now, "update", 5, 1 + made), float(now))
        ended = find_culprit(watcher.views(float(now), lambda pid: True), TIMEOUT, 30.0)
        if ended:
            break
    assert 360 + TIMEOUT <= now <= 363 + TIMEOUT
    assert ended is not None and ended[1].endswith("are at the same point: ranks 0, 1")


@pytest.mark.parametrize(("works", "ends"), [(True, PATIENT * TIMEOUT), (False, TIMEOUT)])
def test_the_monitor_takes_processor_time_for_progress(monkeypatch, works, ends):
    """In seconds: ten times the limit for a pass that works, once for one that stands still."""
    clock = SimpleNamespace(now=0.0)
    patched = SimpleNamespace(
        monotonic=lambda: clock.now, process_time=lambda: 0.9 * clock.now * works
    )
    monkeypatch.setattr(thread, "time", patched)
    with heartbeat.phase("update"):
        heartbeat.compute(True)
        monitor = thread.Monitor(0, 1, TIMEOUT, None)
        while monitor._look(clock.now) is None:
            clock.now += 1
    assert ends <= clock.now <= ends + 3


def test_a_pass_outside_a_phase_computes_nothing_that_stays():
    """What follows it there, as a callback that loops, would be taken for a pass."""
    with heartbeat.phase(heartbeat.BETWEEN, PATIENT):
        heartbeat.compute(True)
        assert not heartbeat.read().computes
        with heartbeat.phase("update"):
            heartbeat.compute(True)
            assert heartbeat.read().computes
        assert not heartbeat.read().computes


def test_only_a_pass_on_a_cpu_computes(model_folder):
    model = beat_by_layer(load_model(model_folder))
    tokens = torch.tensor([[1, 2, 3]])
    heartbeat.enter("verify")
    assert not heartbeat.read().computes
    with heartbeat.phase("update"):
        model(tokens)
        assert heartbeat.read().computes
        with heartbeat.phase(heartbeat.EXCHANGE):
            assert not heartbeat.read().computes
        assert heartbeat.read().computes  # the backward pass and the optimizer's step follow
        model.to("meta")(tokens.to("meta"))
        assert not heartbeat.read().computes
    assert not heartbeat.read().computes
