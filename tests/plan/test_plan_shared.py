"""A prompt that several rollouts share is counted once, as it is computed once."""

import json
from dataclasses import replace

import pytest
import torch
from jsonargparse import Namespace
from plans import full_size, job, small
from transformers import LlamaConfig, LlamaForCausalLM

from fgexpo.errors import UserError
from fgexpo.gym import maker
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.plan.activations import Work, count, prepare, run
from fgexpo.plan.count_bytes import StorageCounter
from fgexpo.plan.generation import GIB
from fgexpo.plan.memory import plan_memory, work_of
from fgexpo.plan.prompts import Prompts, read_prompts
from fgexpo.plan.rows import Largest, Shared, largest
from fgexpo.plan.tables import memory_assumptions
from fgexpo.tasks import DapoMath17k, ReasoningGym, reasoning_gym
from fgexpo.tasks.benchmarks import Benchmark
from fgexpo.tasks.sources import (
    Mixture,
    QuestionFile,
    QuestionSource,
    TinyArithmetic,
    look_in,
)


def llama(**changes):
    """SmolLM2's kind: tied head, three query heads to a key head, a large vocabulary."""
    defaults = {
        "vocab_size": 3000,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }
    return LlamaConfig(**{**defaults, **changes})


def short(**changes):
    """8 x 8 rollouts of few tokens, four questions an update."""
    defaults = {
        "config": llama(),
        "cpu": True,
        "questions": 8,
        "group": 8,
        "mini_batch": 4,
        "max_prompt": 64,
        "max_new": 5,
        "micro_batch_tokens": 1024,
    }
    return job(**{**defaults, **changes})


CASES = {
    "at the limits": {},
    "prompts of 25": {"max_prompt": 25, "shortest_prompt": 24},
    "few-shot": {
        "max_prompt": 250,
        "shortest_prompt": 150,
        "max_new": 8,
        "micro_batch_tokens": 4096,
    },
    "chat": {"max_prompt": 62, "shortest_prompt": 55, "max_new": 64, "micro_batch_tokens": 2048},
}


def measured(planned, work):
    """Peak bytes of a real pass over the rows of a plan's micro-batch, by the real log-probs."""
    model = prepare(LlamaForCausalLM(planned.config), work)
    rows = work.shared.sequences()
    counter = StorageCounter(
        [*model.parameters(), *model.buffers()]
        + [weight.grad for weight in model.parameters() if weight.grad is not None]
    )
    with counter, torch.set_grad_enabled(work.backward):
        logp_NT, _ = completion_logprobs(model, rows, entropy=work.entropy)
        if work.backward:
            logp_NT.sum().backward()
    return counter.peak


@pytest.mark.parametrize("case", CASES)
def test_a_plan_counts_what_a_pass_over_shared_prompts_takes(case):
    planned = short(**CASES[case])
    for phase in ("score", "update"):
        work = work_of(planned, phase)
        assert work.shared is not None
        counted = count(planned.config, work)
        assert counted == run(prepare(LlamaForCausalLM(planned.config), work), work)
        assert counted.peak == pytest.approx(measured(planned, work), rel=0.02)


def test_tokens_of_the_largest_micro_batch():
    # 14 or more rows share four prompts of 64; a completion's last token is not computed.
    at_limits = largest(short())
    assert at_limits.shared is not None
    assert (at_limits.shared.questions, at_limits.shared.prompt) == (4, 64)
    assert at_limits.shared.tokens <= 1024
    assert at_limits.tokens == at_limits.shared.computed < 0.35 * 1024
    # All 32 rows of an update, were their prompts short: 4 x 25 + 32 x 4.
    known = largest(short(max_prompt=25, shortest_prompt=25))
    assert known.shared == Shared(4, 25, (5,) * 32) and known.tokens == 228
    # Nothing is saved where every row has a prompt of its own, or where completions are long.
    assert largest(short(mini_batch=8, group=1)) == Largest(8 * 69, None)
    assert largest(short(max_new=600)) == Largest(1024, None)
    few_shot = {"max_prompt": 204, "shortest_prompt": 203, "max_new": 6}
    assert largest(short(**few_shot)) == Largest(4 * 210, None), "one more would be over the limit"
    assert largest(full_size()) == Largest(16384, None)


def by_brute_force(planned):
    """Most tokens that any number of rows may compute, with completions as long as they may be."""
    prompt, limit, found = planned.max_prompt, planned.micro_batch_tokens, []
    for rows in range(1, min(planned.mini_rows, limit // (prompt + 1)) + 1):
        own = min(rows * planned.max_new, limit - rows * prompt)
        computed = prompt * min(rows, planned.mini_questions) + own - rows
        whole = prompt * rows + own
        found.append(computed if computed <= 7 / 8 * whole else whole)
    return max(found)


@pytest.mark.parametrize("limit", [300, 1024, 2048, 5000])
@pytest.mark.parametrize("mini_batch", [1, 4, 16])
def test_no_number_of_rows_takes_more_than_the_largest(limit, mini_batch):
    for prompt, new in [(10, 20), (64, 5), (100, 30), (60, 64), (130, 100), (40, 200)]:
        own = {"micro_batch_tokens": limit, "mini_batch": mini_batch, "max_new": new}
        planned = short(**own, questions=16, group=16, max_prompt=prompt, shortest_prompt=prompt)
        most = by_brute_force(planned)
        assert 0.97 * most <= largest(planned).tokens <= most, (prompt, new)


def test_lengths_that_may_be_shorter_are_not_taken_to_be_long():
    """Long prompts would share much; short ones leave room for more rows of long completions."""
    wide = {"max_new": 64, "micro_batch_tokens": 1024}
    assert largest(short(**wide)).tokens == 1024
    assert largest(short(**wide, shortest_prompt=60)).tokens < 850


def test_a_single_pass_makes_its_gradients_while_activations_go():
    """Those of the last update are freed before, so they are not there at its start."""
    small_ones = short(max_prompt=25, shortest_prompt=24)
    assert small_ones.one_pass and not short().one_pass
    work = work_of(small_ones, "update")
    assert work.first and not work_of(small_ones, "score").first
    model = LlamaForCausalLM(small_ones.config)
    assert count(small_ones.config, work).peak == pytest.approx(
        measured(small_ones, work), rel=0.02
    )
    gradients = sum(weight.nbytes for weight in model.parameters())
    later = count(small_ones.config, replace(work, first=False)).peak + gradients
    assert count(small_ones.config, work).peak < later
    phases = plan_memory(small_ones, 8 * GIB).phases
    peak = count(small_ones.config, work).peak
    stays = sum(phases["step"].values()) - phases["step"]["optimizer temporaries"] - gradients
    assert sum(phases["update"].values()) == stays + peak


def test_gradients_that_are_buckets_are_there_before_the_pass():
    """DDP's gradient_as_bucket_view: freeing a gradient frees nothing."""
    single = short(max_prompt=25, shortest_prompt=24, processes=2, strategy="ddp")
    assert work_of(single, "update").first
    view = single.change(bucket_view=True)
    assert view.one_pass and not work_of(view, "update").first
    phases = plan_memory(view, 8 * GIB).phases
    assert phases["update"]["gradients"] == phases["step"]["gradients"] > 0


def test_a_model_of_padded_rows_is_counted_padded():
    """Its prompts are computed row by row."""
    window = {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 0}
    config = small(num_hidden_layers=1, layer_types=["sliding_attention"], **window)
    whole = Work(60, 30, device="cpu", backward=False)
    shared = replace(whole, tokens=58, shared=Shared(2, 10, (20, 20)))
    assert count(config, shared) == count(config, whole)
    padded, packed = short(config=config), short()
    assert largest(padded) == Largest(1024, None) and largest(packed).shared is not None
    said, of_packed = (
        " ".join(memory_assumptions(made, plan_memory(made, 8 * GIB))) for made in (padded, packed)
    )
    assert "1,024 tokens, in rows padded to the longest" in said and "counted once" not in said
    assert "each counted once" in of_packed


def test_prompts_of_the_data_take_the_limits_place():
    found = Prompts(13, 14.5, 21).put_into(short())
    assert (found.shortest_prompt, found.mean_prompt, found.max_prompt) == (13, 14.5, 21)
    assert found.longest == 26


def test_only_questions_that_are_quickly_here_are_read(tmp_path, monkeypatch):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"prompt": "1 + 1", "answer": "2"}))
    here = QuestionFile(str(path))
    assert here.quick and TinyArithmetic().quick and Mixture([here]).quick
    assert DapoMath17k(str(path)).quick and Benchmark("amc23", str(path)).quick
    away = [QuestionFile("owner/name"), DapoMath17k(), Benchmark("amc23"), Plugin()]
    for source in away:
        assert not source.quick and not Mixture([here, source]).quick
    (tmp_path / "amc23.jsonl").touch()
    named = Benchmark("amc23")
    look_in(str(tmp_path), named)
    assert named.quick
    monkeypatch.setattr(reasoning_gym, "ask", lambda *fields: {})
    assert ReasoningGym("chain_sum", count=300).quick
    assert not ReasoningGym("chain_sum", count=100_000).quick


class Plugin(QuestionSource):
    """Of which nothing is known but its class."""

    def questions(self):
        raise AssertionError("a plan must not ask for these")


def test_a_plan_takes_the_limit_where_questions_take_long_or_an_extra_is_missing(
    model_folder, monkeypatch
):
    monkeypatch.setattr(maker, "find_spec", lambda name: None)
    model = Namespace(
        name=str(model_folder),
        max_prompt_tokens=20,
        template=Namespace(class_path="fgexpo.templates.Plain", init_args=Namespace()),
    )
    quick = Namespace(class_path="fgexpo.tasks.TinyArithmetic", init_args=Namespace(per_cell=1))
    # Where a configuration may import from, which another test of this process may have limited.
    monkeypatch.setattr("fgexpo.tasks.Plugin", Plugin, raising=False)
    monkeypatch.setattr(Plugin, "__module__", "fgexpo.tasks")
    plugin = Namespace(class_path="fgexpo.tasks.Plugin", init_args=Namespace())
    gym = Namespace(class_path="fgexpo.tasks.ReasoningGym", init_args=Namespace(name="chain_sum"))
    mixed = Namespace(class_path="fgexpo.tasks.Mixture", init_args=Namespace(sources=[gym]))
    for source in (plugin, gym, mixed):
        for train, val in ((source, {}), (quick, {"held": source})):
            data = Namespace(root=None, train=train, val=val)
            config = Namespace(model=Namespace(init_args=model), data=Namespace(init_args=data))
            assert read_prompts(config) is None
    said = " ".join(memory_assumptions(short(), plan_memory(short(), 8 * GIB)))
    assert "prompts of up to 64 tokens, the limit: no questions were read" in said


def test_a_plan_reads_how_long_the_prompts_are(model_folder, tokenizer, tmp_path):
    """Of the questions that are used; the longest may be one of validation."""

    def source(name, *questions):
        rows = [json.dumps({"prompt": text, "answer": "2"}) for text in questions]
        (tmp_path / name).write_text("\n".join(rows))
        return Namespace(class_path="fgexpo.tasks.QuestionFile", init_args=Namespace(path=name))

    template = Namespace(text="{question} =", stop_tokens=[])
    model = Namespace(
        name=str(model_folder),
        max_prompt_tokens=20,
        template=Namespace(class_path="fgexpo.templates.Custom", init_args=template),
    )
    data = Namespace(
        root=str(tmp_path),
        train=source("own.jsonl", "1 + 1", "2 + 2 + 2", "3 + " * 50 + "3"),
        val={"held": source("held.jsonl", "4 + 4 + 4 + 4")},
    )
    config = Namespace(model=Namespace(init_args=model), data=Namespace(init_args=data))
    short_, middle, long = (
        len(tokenizer(f"{text} =", add_special_tokens=False).input_ids)
        for text in ("1 + 1", "2 + 2 + 2", "4 + 4 + 4 + 4")
    )
    found = read_prompts(config)
    assert found == Prompts(short_, (short_ + middle) / 2, long)
    model.max_prompt_tokens = short_ - 1
    with pytest.raises(UserError, match=f"no question that fits .* has {short_} tokens"):
        read_prompts(config)
    model.name = "owner/name"
    assert read_prompts(config) is None
