"""The GPU check on a CPU and a tiny shape: its counting, its faults, and that it loses nothing."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from processes import start, wait
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu_check
from gpu import (
    attention,
    clock,
    deterministic,
    engine,
    fit,
    parity,
    passes,
    planned,
    process,
    trl_update,
    variant_table,
    variants,
    work,
)
from gpu.report import Check, Note, Row
from gpu.scale import Setting

from fgexpo.model import head_slices, lm_head, logprobs, packing
from fgexpo.rollout import VLLM
from fgexpo.study.processes import CONTEXT

TINY = Setting("tiny", "cpu")
CPU = ["--device", "cpu", "--shape", "tiny"]
# The others have tests of their own.
MEASURED = ["machine", "variants", "generation", "parity", "attention", "server"]
TABLES = [
    "Machine",
    "Products in bf16, TFLOP/s, by their share of the data sheet",
    variant_table.TABLE,
    "Generation by the policy",
]


# Sections are forked from the server that the other tests use too.
assert CONTEXT.get_start_method() == "forkserver"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_the_whole_script_on_a_cpu(tmp_path, capfd):
    out = tmp_path / "docs" / "gpu.md"
    assert gpu_check.main([*CPU, "--out", str(out), "--sections", *MEASURED]) == 0, out.read_text()
    text = out.read_text()
    assert "no figure below means anything" in text and "FAILED" not in text
    for name, part in gpu_check.PARTS.items():
        assert f"## {part.title}\n" in text
        assert f"| {part.title} | {'done' if name in MEASURED else 'left out'} |" in text
    for table in TABLES:
        assert f"\n{table}:\n" in text
    for variant in variants.VARIANTS:
        assert f"| {variant.name} |" in text or f"- {variant.name}: not measured" in text
    assert "everything passed" in capfd.readouterr().out
    assert not out.with_suffix(".part").exists()


def failed(section):
    return [f.what for f in section if isinstance(f, Check) and not f.passed]


def test_parity_passes():
    assert failed(parity.parity(TINY)) == []


def one_bucket(lengths, limit):
    yield 0, (sum(lengths),)


def shifted(sequences, arrange=logprobs.arrange):
    packed = arrange(sequences)
    packed.position_1M.mul_(2)
    return packed


class Skewed(lm_head._Head):
    @staticmethod
    def backward(ctx, *gradients):
        found = super(Skewed, Skewed).backward(ctx, *gradients)
        return found[0] * 1.01, *found[1:]


@pytest.mark.parametrize(
    ("where", "name", "fault", "expected"),
    [
        (packing, "_similar", one_bucket, "float32, packed, fast attention, slices: mean |logp"),
        (logprobs, "arrange", shifted, "bf16, packed, fast attention, slices: mean |logp"),
        (lm_head, "_Head", Skewed, "float32: gradient's |difference| / norm"),
    ],
)
def test_parity_finds_a_fault(where, name, fault, expected, monkeypatch):
    monkeypatch.setattr(where, name, fault)
    assert any(what.startswith(expected) for what in failed(parity.parity(TINY)))


def test_parity_finds_a_coarser_bf16(monkeypatch):
    head = logprobs.head_logprobs

    def coarse(model, hidden_MH, *rest):
        if torch.is_autocast_enabled("cpu"):
            hidden_MH = hidden_MH.to(torch.float8_e4m3fn).to(hidden_MH.dtype)
        return head(model, hidden_MH, *rest)

    monkeypatch.setattr(logprobs, "head_logprobs", coarse)
    with torch.no_grad():
        found = failed(parity._compare(work.open_policy(TINY), sequences(), "cpu"))
    assert any(what.startswith("bf16, packed") for what in found)
    assert not any(what.startswith("float32") for what in found)


def sequences():
    return work.draw_rollouts(TINY, [4, 8], [24, 22, 12, 2], 2).sequences


def test_an_update_moves_the_policy_and_scoring_does_not():
    policy, rollouts = work.open_policy(TINY), work.real_rollouts(TINY)
    before = [p.detach().clone() for p in policy.parameters()]
    cuts = work.cut_rollouts(policy, rollouts, 64)
    rollouts.cuts = [cuts]
    passes.score_once(policy, rollouts, "cpu")
    assert float(rollouts.old_logp_NT[rollouts.completions.mask_NT].mean()) < -4
    assert all(map(torch.equal, before, policy.parameters()))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    passes.update_once(policy, optimizer, rollouts, cuts, TINY)
    assert not any(map(torch.equal, before, policy.parameters()))


def test_the_precision_is_lightnings():
    with MixedPrecision("bf16-mixed", "cpu").forward_context():
        expected = torch.is_autocast_cache_enabled(), torch.get_autocast_dtype("cpu")
    with work.autocast("cpu"):
        assert torch.is_autocast_enabled("cpu")
        assert expected == (torch.is_autocast_cache_enabled(), torch.get_autocast_dtype("cpu"))


def test_attention_by_plain_products_is_a_failure():
    with sdpa_kernel(SDPBackend.MATH):
        assert failed(attention.attention(TINY)) == ["training's attention"]


def test_a_pass_that_rounds_otherwise_with_gradients_is_found(monkeypatch):
    policy, head = work.open_policy(TINY), logprobs.head_logprobs
    assert variant_table.same_without_grad("x", policy, sequences(), "cpu").passed

    def other(model, hidden_MH, *rest):
        return head(model, hidden_MH * (1 + 2**-6 * torch.is_grad_enabled()), *rest)

    monkeypatch.setattr(logprobs, "head_logprobs", other)
    assert not variant_table.same_without_grad("x", policy, sequences(), "cpu").passed


def test_a_variant_of_other_weights_is_wrong():
    yardstick, _ = variant_table._start(TINY, work.real_rollouts(TINY))
    policy = work.open_policy(TINY)
    assert failed(variant_table.right("x", policy, yardstick, "cpu")) == []
    with torch.no_grad():
        policy.get_output_embeddings().weight.mul_(-1)
    wrong = failed(variant_table.right("x", policy, yardstick, "cpu"))
    assert wrong == ["x: mean |log-prob difference|", "x: gradient's cosine"]


def test_the_head_is_forced_only_while_a_variant_is_open():
    with variants.opened(variants.BASELINE, TINY):
        assert lm_head.slices is head_slices.Slices
    assert lm_head.slices is head_slices.slices
    names = [variant.name for variant, lacks in variants.chosen(TINY) if lacks is None]
    assert variants.LIGER.name not in names and variants.FUSED.name in names


def test_trl_gets_the_same_rollouts():
    rollouts = work.real_rollouts(TINY)
    rollouts.ref_logp_NT = rollouts.old_logp_NT = torch.zeros(rollouts.completions.tokens_NT.shape)
    seen = []
    for micro in trl_update.their_micro_batches(rollouts, 4):
        ids = torch.cat([micro["prompt_ids"], micro["completion_ids"]], 1)
        mask = torch.cat([micro["prompt_mask"], micro["completion_mask"]], 1).bool()
        seen += [row[real].tolist() for row, real in zip(ids, mask, strict=True)]
    ours = rollouts.sequences
    assert seen == [
        row[:length].tolist() for row, length in zip(ours.tokens_NL, ours.lengths_N, strict=True)
    ]


@pytest.mark.slow
def test_ten_steps_of_fit_by_their_own_event_file():
    """Slow: a whole run in a process of its own."""
    found = list(fit.fit(TINY))
    assert failed(found) == []
    steps = [f.cells for f in found if isinstance(f, Row) and "number" in f.cells]
    assert len(steps) == fit.STEPS
    [whole] = [f.cells for f in found if isinstance(f, Row) and f.cells.get("phase") == "step"]
    assert float(whole["seconds"]) > 0 and float(whole["planned"]) > 0


def test_the_runs_that_must_be_equal_are_compared_weight_by_weight(tmp_path):
    one = {"a": torch.zeros(2), "b": torch.ones(1)}
    assert deterministic._equal("x", one, {k: v.clone() for k, v in one.items()}).passed
    other = deterministic._equal("x", one, one | {"b": torch.full((1,), 1 + 2**-20)})
    assert not other.passed and other.found.startswith("1 of 2")
    assert not deterministic._equal("x", one, one | {"c": torch.ones(1)}).passed


def test_memory_is_checked_against_the_plan(monkeypatch):
    gib = 2**30

    def check(peak, plan):
        found = None if peak is None else clock.Measured([1.0], int(peak * gib))
        [verdict] = planned.memory_check("x", found, int(plan * gib), "cuda")
        return verdict.passed

    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * gib)
    )
    assert check(10, 11) and check(11, 10) and not check(10, 12) and not check(12, 10)
    # Out of memory is as it should be only where the plan has said so.
    assert check(None, 78) and not check(None, 70)
    assert planned.memory_check("x", None, 1, "cpu") == []


def test_out_of_memory_is_a_finding_and_any_other_error_is_one():
    def raising(error):
        raise error

    assert clock.measure(lambda: raising(torch.OutOfMemoryError("x")), "cpu", 2) is None
    with pytest.raises(RuntimeError, match="another"):
        clock.measure(lambda: raising(RuntimeError("another")), "cpu", 2)
    calls = []
    found = clock.measure(lambda: calls.append(1), "cpu", 3)
    assert len(calls) == 4 and len(found.seconds) == 3 and found.peak is None
    assert clock.Measured([3.0, 1.0, 2.0], None).spread == "2.00 (1.00-3.00)"


@pytest.mark.slow
def test_no_library_asks_for_a_gpu_when_it_is_imported():
    """A driver that was opened before a fork cannot be used after it."""
    program = f"""
import importlib, sys, torch
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, lambda *_, name=name: sys.exit(f"torch.cuda.{{name}} was called"))
for module in {process.PRELOAD}:
    importlib.import_module(module)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def check_vllm():
    """In a process of its own: vLLM's memory is given back only when its process ends."""
    monkeypatch = pytest.MonkeyPatch()
    opened = VLLM(memory=engine.MEMORY["cpu"], eager=True)
    monkeypatch.setattr(engine, "VLLM", lambda **settings: opened)
    found = list(engine.engine(TINY))
    assert failed(found) == [] and sum(isinstance(f, Check) for f in found) == 3
    assert any("Sleep needs a GPU" in f.text for f in found if isinstance(f, Note))

    opened.sync(None)
    take_over, policies = opened._take_over, []

    def only_once(policy):
        policies.append(policy)
        if len(policies) == 1:
            take_over(policy)

    monkeypatch.setattr(opened, "_take_over", only_once)
    [what] = failed(engine.engine(TINY))
    assert what.startswith("after a hand-over of other weights")


@pytest.mark.vllm
def test_real_vllm_on_a_cpu(tmp_path):
    done = wait([start(check_vllm, log=tmp_path / "log")], timeout=300)
    assert done == [0], (tmp_path / "log").read_text()
