"""From rates of a CPU to seconds of a step."""

import pytest
import torch
from plans import job, small

from fgexpo.plan import cpu_rates
from fgexpo.plan.cpu_rates import measure, threads_of
from fgexpo.plan.cpu_timing import (
    CpuRates,
    cpu_assumptions,
    cpu_timing,
    decoding,
    mean_lengths,
    usual_rows,
)
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of
from fgexpo.plan.tables import duration

RATES = CpuRates(2, 1e-3, 3e-3, 1e-2, 4e-2, 0.1, 0.001, 1e-6)


def run(**changes):
    """8 x 4 rollouts in two updates of 16 rows."""
    return job(mini_batch=4, micro_batch_tokens=1024, cpu=True, **changes)


def seconds(planned, lengths=(10.0, 4.0), at_once=32):
    state = state_of(planned, shape_of(planned.config))
    return cpu_timing(planned, state, RATES, at_once, lengths).seconds


def test_a_usual_micro_batch_computes_each_prompt_once():
    usual = usual_rows(run(), 10.0, 4.0)
    assert (usual.number, usual.tokens) == (1, 4 * 10 + 16 * 3)
    halves = usual_rows(run().change(micro_batch_tokens=112), 10.0, 4.0)
    assert (halves.number, halves.tokens) == (2, 4 * 10 + 8 * 3)
    alone = usual_rows(run(group=1), 10.0, 4.0)
    assert alone.tokens == 4 * 14


def test_seconds_of_score_and_update():
    # Two layers, 88 tokens and 64 answered ones an update; the first update scores itself.
    score, update = 2 * 88 * 1e-3 + 64 * 1e-2, 2 * 88 * 3e-3 + 64 * 4e-2
    steps = 2 * shape_of(small(num_hidden_layers=2)).count * 1e-6
    plain = seconds(run())
    assert plain["score"] == pytest.approx((1 + 0.5) * 2 * score)
    assert plain["update"] == pytest.approx(2 * update + steps)
    twice = seconds(run(inner_epochs=2))
    assert twice["update"] == pytest.approx(2 * plain["update"])
    again = seconds(run(checkpointing=True))
    assert again["update"] - plain["update"] == pytest.approx(2 * 2 * 88 * 1e-3)


def test_seconds_of_decoding():
    # Prompts once a question; 15 more steps for the longest row, 3 more tokens for a usual one.
    reading = 8 * 10 * 2 * 1e-3
    assert seconds(run())["generate"] == pytest.approx(reading + 15 * 0.1 + 32 * 3 * 0.001)
    waves = decoding(run(), RATES, 8, (10.0, 4.0))
    assert waves == pytest.approx(reading + 4 * 15 * 0.1 + 32 * 3 * 0.001)
    assert decoding(run(), RATES, 0, (10.0, 4.0)) == 0


def test_lengths_and_what_is_said_of_them():
    assert mean_lengths(run(), None) == (pytest.approx(0.15 * 16), pytest.approx(0.6 * 16))
    known = run(mean_prompt=12.5)
    assert mean_lengths(known, 7.0) == (12.5, 7.0)
    timing = cpu_timing(known, state_of(known, shape_of(known.config)), RATES, 32, (12.5, 7.0))
    said = " ".join(cpu_assumptions(known, timing, RATES, given=True))
    for part in ("7 tokens (given", "12 (read from the questions)", "2 threads", "100.0 ms"):
        assert part in said
    assert (duration(90), duration(3600 * 3)) == ("1.5 min", "3.0 h")


def test_threads_are_those_of_the_run(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert threads_of(run()) == torch.get_num_threads()
    assert threads_of(run(processes=4, strategy="ddp")) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_of(run(processes=4, strategy="ddp")) == torch.get_num_threads()


@pytest.mark.parametrize("adapted", [False, True], ids=["packed", "padded"])
def test_everything_that_is_estimated_is_measured(adapted, monkeypatch):
    """Not how fast: that all rates are there, and that nothing else is left changed."""
    monkeypatch.setattr(cpu_rates, "SECONDS", 0.0)
    config = small(num_hidden_layers=2)
    if adapted:
        config.use_sliding_window, config.sliding_window = True, 4
        config.layer_types = ["sliding_attention"] * 2
    before = torch.get_num_threads(), torch.get_rng_state()
    rates = measure(run(config=config), (10.0, 4.0), 32)
    assert torch.get_num_threads() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    measured = (rates.forward, rates.update, rates.head, rates.head_update, rates.parameter)
    assert all(rate > 0 for rate in measured) and rates.step + rates.row > 0
    assert measure(run(config=config), (10.0, 4.0), 0).step == 0
