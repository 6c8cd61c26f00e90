"""Real vLLM on a CPU: parity with the policy, and every fault of the sync caught in one step."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, fit, make_data, make_module, make_trainer, weights
from near import rounded
from processes import command_line, run_ranks, start, wait
from transformers import Qwen2ForCausalLM

from fgexpo.groups import Groups
from fgexpo.model.loading import load_model, load_tokenizer
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join
from fgexpo.questions import Question
from fgexpo.rollout import VLLM, Native, RolloutRequest, Sampling
from fgexpo.rollout.vllm import engine as engine_module
from fgexpo.rollout.vllm import needs
from fgexpo.seeding import hash_seed
from fgexpo.tasks import QuestionSource
from fgexpo.tasks.tiny_model import TinyQwen2
from fgexpo.templates import StopStrings
from fgexpo.update.mismatch import EngineMismatch

pytestmark = pytest.mark.vllm
CONFIG = str(Path(__file__).parents[2] / "configs" / "tiny_vllm.yaml")
TAG = "sampling/sampling_logp_difference/mean"
# What float32 rounds: of the largest log-prob, and in the mean of their differences.
LOGP = 1e-5
# Longer than a block of vLLM's prefix cache on a CPU, which has 128 tokens.
LONG = 140
# Heads of 32 channels, which vLLM's CPU kernels support, and two, to be shared by two processes.
SHAPE = TinyQwen2(
    hidden_size=64, layers=2, heads=2, kv_heads=2, intermediate_size=128, initializer_range=0.2
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random model."""
    path = tmp_path_factory.mktemp("vllm")
    torch.manual_seed(0)
    SHAPE.model().save_pretrained(path)
    SHAPE.tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def opened():
    """One engine for all tests: opening takes a quarter of a minute."""
    return VLLM(memory=0.1, eager=True)


@pytest.fixture
def engine(opened):
    opened.sync(None)  # each test has a policy of its own
    return opened


@pytest.fixture
def policy(folder):
    return load_model(folder)


PROMPTS = [[3, 4, 12, 5, 6, 15], [8, 12, 9], [7] * LONG]
FOURS = Groups([4, 4, 4])


def request(group=4, seed=0, **sampling):
    seeds = [[hash_seed(seed, q, g) for g in range(group)] for q in range(len(PROMPTS))]
    options = {"max_new_tokens": 16, **sampling}
    return RolloutRequest(PROMPTS, seeds, Sampling(**options), [1], torch.device("cpu"), 200)


def rows(completions):
    lengths = completions.lengths_N.tolist()
    return [row[:n] for row, n in zip(completions.tokens_NT.tolist(), lengths, strict=True)]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_the_policys(engine, policy, temperature):
    found = engine.generate(policy, request(temperature=temperature))
    expected, _ = completion_logprobs(policy, join(PROMPTS, found, FOURS), temperature)
    difference = (found.logp_NT - expected.detach()).abs()
    rounded(found.logp_NT, expected, LOGP)
    assert difference.mean() < LOGP
    for row, length, reason in zip(rows(found), found.lengths_N, found.finish, strict=True):
        assert (row[-1] == 1) == (reason == "stop") and (reason == "stop" or length == 16)
        assert 1 not in row[:-1]


def test_it_looks_for_no_network(engine, policy, monkeypatch):
    from vllm.utils import network_utils

    def no_network(*arguments):
        raise OSError("Network is unreachable")

    engine.generate(policy, request())
    monkeypatch.setattr(network_utils.socket, "socket", no_network)
    assert network_utils.get_ip() == "127.0.0.1"


def test_the_installed_version_has_all_that_is_asked(engine, monkeypatch):
    engine.check_weights(adapters=True, sharded=True)
    monkeypatch.setattr(needs, "SAMPLING", (*needs.SAMPLING, "telepathy"))
    with pytest.raises(ValueError, match=r"needs 'telepathy' of SamplingParams, .* vLLM 0\."):
        engine.check_weights(adapters=True, sharded=True)
    monkeypatch.undo()
    monkeypatch.setattr(needs, "RELOAD", ("telepathy",))
    with pytest.raises(ValueError, match="needs 'telepathy' of reload_weights, which"):
        engine.check_weights(adapters=False, sharded=False)


def test_seeds_decide_and_the_trainers_generator_is_left_alone(engine, policy):
    state = torch.random.get_rng_state()
    first, again = (rows(engine.generate(policy, request())) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert first == again
    assert first != rows(engine.generate(policy, request(seed=1)))
    assert len({tuple(row) for row in first[:4]}) > 1


def test_more_prompts_than_fit_one_step(engine, policy):
    many = request(group=8)
    many.prompts, many.seeds = many.prompts * 24, many.seeds * 24
    found = engine.generate(policy, many)
    assert len(found.finish) == 24 * 3 * 8 and int(found.lengths_N.min()) >= 1


def test_without_seeds_steps_still_differ(opened, policy):
    free = Faulty(opened, None)
    free.sync(policy)
    free.seeded = False
    first, again, other = (rows(free.generate(policy, request(seed=seed))) for seed in (0, 0, 1))
    assert first == again and first != other


def test_an_interrupted_generation_leaves_no_request_behind(engine, policy, monkeypatch):
    engine.generate(policy, request())
    step, calls = engine._llm.llm_engine.step, []

    def strike():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(engine._llm.llm_engine, "step", strike)
    with pytest.raises(KeyboardInterrupt):
        engine.generate(policy, request(seed=5))
    assert not engine._llm.llm_engine.has_unfinished_requests()
    engine.sync(policy)
    assert rows(engine.generate(policy, request())) == rows(engine.generate(policy, request()))


def test_greedy_is_what_the_native_engine_does(engine, policy):
    greedy = request(group=2, temperature=0.0)
    found, expected = engine.generate(policy, greedy), Native().generate(policy, greedy)
    assert rows(found) == rows(expected)
    rounded(found.logp_NT, expected.logp_NT, LOGP)


def stop_strings(folder):
    """Strings of several tokens, in an engine that has a tokenizer for them alone."""
    tokenizer, policy = load_tokenizer(folder), load_model(folder)
    strings = ("12", "x=", "-+", "7")
    made = VLLM(memory=0.1, eager=True)
    stops = StopStrings(strings, tokenizer)
    greedy = replace(request(group=1, temperature=0.0), stop_strings=stops)
    found, expected = made.generate(policy, greedy), Native().generate(policy, greedy)
    assert rows(found) == rows(expected) and found.finish == expected.finish
    asked = replace(request(group=16), stop_strings=stops)
    ended, free = made.generate(policy, asked), made.generate(policy, request(group=16))
    for row, cut, reason in zip(rows(free), rows(ended), ended.finish, strict=True):
        texts = [tokenizer.decode(row[: n + 1]) for n in range(len(row))]
        counts = [n for n, text in enumerate(texts, 1) if any(s in text for s in strings)]
        assert cut == row[: counts[0] if counts else None]
        assert (reason == "stop") == bool(counts or row[-1] == 1)
    assert sum(len(cut) < len(row) for cut, row in zip(rows(ended), rows(free), strict=True)) > 3
    logp, _ = completion_logprobs(policy, join(PROMPTS, ended, Groups([16] * len(PROMPTS))), 1.0)
    rounded(ended.logp_NT, logp, LOGP)
    return 0


def test_stop_strings_end_what_they_end_in_the_native_engine(folder, tmp_path):
    # A second engine in this process would close the first one's groups when it goes.
    log = tmp_path / "log"
    assert wait([start(stop_strings, folder, log=log)]) == [0], log.read_text()


def test_tied_embeddings_follow_the_policy(engine):
    torch.manual_seed(1)
    config = SHAPE.model().config
    config.tie_word_embeddings = True
    policy = Qwen2ForCausalLM(config)
    assert policy.lm_head.weight is policy.model.embed_tokens.weight
    for _ in range(2):
        with torch.no_grad():
            policy.lm_head.weight.mul_(1.2)
        engine.sync(policy)
        found = engine.generate(policy, request())
        expected, _ = completion_logprobs(policy, join(PROMPTS, found, FOURS), 1.0)
        rounded(found.logp_NT, expected, LOGP)


def test_adapters_come_merged_and_the_base_stays(engine, policy):
    peft = pytest.importorskip("peft")
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    targets = ["q_proj", "v_proj", "down_proj"]
    adapted = peft.get_peft_model(
        policy, peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    )
    engine.sync(adapted)
    found = engine.generate(adapted, request())
    expected, _ = completion_logprobs(adapted, join(PROMPTS, found, FOURS), 1.0)
    with adapted.disable_adapter():
        base, _ = completion_logprobs(adapted, join(PROMPTS, found, FOURS), 1.0)
    rounded(found.logp_NT, expected, LOGP)
    assert (base - expected).abs().max() > 1e-2
    state = adapted.state_dict()
    for name, weight in before.items():
        kept = [key for key in state if key.replace(".base_layer", "").endswith(name)]
        assert any(torch.equal(state[key], weight) for key in kept)


class LongQuestions(QuestionSource):
    def questions(self):
        return [Question(str(n), f"{n}" * LONG + f"+{n}", "1") for n in range(2, 10)]


def train(folder, tmp_path, engine, steps=4, trainer=None):
    return fit(
        folder,
        tmp_path,
        steps,
        trainer=trainer,
        data=make_data(train=LongQuestions(), val={}, questions_per_step=8),
        engine=engine,
        dtype="float32",
        max_prompt_tokens=LONG + 10,
        mini_batch_questions=None,
        warmup_steps=1,
        optimizer=lambda params: torch.optim.SGD(params, lr=1.0),
    )


def test_a_healthy_run_agrees_to_rounding(folder, tmp_path, engine):
    _, _, recorder = train(folder, tmp_path, engine)
    assert all(metrics[TAG] < LOGP for metrics in recorder.metrics)
    assert len({metrics["accuracy"] + metrics["loss"] for metrics in recorder.metrics}) > 1


class Faulty(VLLM):
    """The opened engine with one thing left out, from the second step on."""

    def __init__(self, opened, fault):
        self.__dict__ |= opened.__dict__
        self.fault, self.asked = fault, 0

    def sync(self, policy):
        if self.fault != "sync":
            super().sync(policy)

    def generate(self, policy, request):
        self.asked += 1
        if self.fault == "temperature" and self.asked == 2:
            request.sampling = Sampling(request.sampling.max_new_tokens, temperature=0.8)
        return super().generate(policy, request)

    def _take_over(self, policy):
        whole, reset = engine_module.full_weights, self._llm.reset_prefix_cache
        if self.fault == "cache" and self.asked > 1:
            self._llm.reset_prefix_cache = lambda: True
        if self.fault == "head" and self.asked > 1:
            engine_module.full_weights = lambda *asked: (
                named for named in whole(*asked) if named[0] != "lm_head.weight"
            )
        try:
            super()._take_over(policy)
        finally:
            self._llm.reset_prefix_cache, engine_module.full_weights = reset, whole


@pytest.mark.parametrize("fault", ["sync", "cache", "head", "temperature"])
def test_a_fault_of_the_sync_is_caught_within_one_step(folder, tmp_path, engine, fault):
    faulty = Faulty(engine, fault)
    with pytest.raises(EngineMismatch, match="Likely causes: the weights were not handed over"):
        train(folder, tmp_path, faulty)
    assert faulty.asked == 2


class Dying(VLLM):
    def __init__(self, opened):
        self.__dict__ |= opened.__dict__

    def _answers(self, llm, request):
        raise RuntimeError("EngineDeadError: the engine's own words")


def test_a_dead_engine_ends_the_run_with_its_own_error(folder, tmp_path, engine):
    with pytest.raises(RuntimeError, match="the engine's own words"):
        train(folder, tmp_path, Dying(engine))


def half_precision_on_a_small_node(folder, tmp_path):
    """A memory node that reports as much as this process already holds, as hot-plugged ones do."""
    from vllm.v1.worker import cpu_worker

    monkeypatch, info = pytest.MonkeyPatch(), cpu_worker.get_memory_node_info
    monkeypatch.setattr(
        cpu_worker, "get_memory_node_info", lambda node: replace(info(node), total_memory=2**30)
    )
    engine = VLLM(memory=0.1, eager=True, dtype="bfloat16")
    half = {"precision": "bf16-mixed"}
    module, _, recorder = train(folder, tmp_path, engine, steps=2, trainer=half)
    assert engine.logp_limit() == 0.1
    # The two round differently, and neither as coarsely as the limit allows.
    assert all(1e-5 < metrics[TAG] < 0.1 for metrics in recorder.metrics)
    # Rounded before the hand-over, as the engine would round them: the same weights.
    assert engine._only_dtype == torch.bfloat16
    assert next(module.policy.parameters()).dtype == torch.float32
    drawn = []
    for engine._only_dtype in (torch.bfloat16, None):
        engine.sync(module.policy)
        drawn.append(engine.generate(module.policy, request()))
    assert rows(drawn[0]) == rows(drawn[1])
    assert torch.equal(drawn[0].logp_NT, drawn[1].logp_NT)


def test_half_precision_opens_and_trains_whatever_the_memory_node_reports(folder, tmp_path):
    log = tmp_path / "log"
    done = wait([start(half_precision_on_a_small_node, folder, tmp_path, log=log)], timeout=180)
    assert done == [0], log.read_text()


def tiny(folder, out, *more):
    return [
        *("fit", "--config", CONFIG, f"--model.name={folder}"),
        *("--model.group_size=4", "--model.mini_batch_questions=2", "--data.questions_per_step=4"),
        *("--data.train.per_cell=1", "--data.val.tiny.init_args.per_cell=1", "--akl=null"),
        *("--model.evaluation.rollouts=2", "--model.evaluation.ks=[1]", "--model.rewards=[Parity]"),
        *("--trainer.val_check_interval=2", "--checkpoint.every_steps=1", "--ckpt_path=last"),
        *("--model.warmup_steps=1", f"--trainer.logger.save_dir={out}", *more),
    ]


def test_the_command_line_resumes_a_run(folder, tmp_path):
    from fgexpo.robustness.checkpoint import by_age, read_checkpoint

    environment = {"FGEXPO_PLUGINS": "helpers"}
    saved = {}
    for name in ("calm", "cut"):
        log = tmp_path / f"{name}.log"
        run = tiny(folder, tmp_path / name, "--steps=4", "--checkpoint.keep=null")
        process = start(command_line, run, log=log, environment=environment)
        assert wait([process], timeout=300) == [0], log.read_text()
        saved[name] = by_age((tmp_path / name).glob("tiny_vllm/*/checkpoints/step=*.ckpt"))
        if name == "calm":
            # As the run is found that was killed after its second step.
            left = tmp_path / "cut" / saved[name][1].parent.relative_to(tmp_path / "calm")
            left.mkdir(parents=True)
            shutil.copy(saved[name][1], left)
    assert [path.name for path in saved["calm"]] == [f"step={n:06d}.ckpt" for n in range(1, 5)]
    assert [path.name for path in saved["cut"]] == [f"step={n:06d}.ckpt" for n in range(2, 5)]
    assert "resuming from" in (tmp_path / "cut.log").read_text()
    calm, cut = (read_checkpoint(saved[name][-1])["state_dict"] for name in ("calm", "cut"))
    for tag, weight in calm.items():
        rounded(cut[tag], weight, 1e-5)


def test_a_hung_engine_ends_the_run_and_is_named(folder, tmp_path):
    run = tiny(folder, tmp_path / "hung", "--steps=4", "--model.engine=StuckVLLM")
    environment = {"FGEXPO_PLUGINS": "plants,helpers"}
    log = tmp_path / "log"
    process = start(command_line, [*run, "--watchdog.timeout=4"], log=log, environment=environment)
    while process.is_alive() and "strikes" not in (log.read_text() if log.exists() else ""):
        process.join(0.2)
    struck = time.monotonic()
    (code,) = wait([process], timeout=60)
    assert code not in (0, None) and time.monotonic() - struck < 30
    assert "generate by StuckVLLM" in log.read_text()


def ranks(folder, out, tensor_parallel):
    engine = VLLM(memory=0.1, eager=True, tensor_parallel=tensor_parallel)
    trainer = make_trainer(Path(out).parent, 2, devices=2, strategy="ddp")
    options = {"verifier": EvenIsRight(), "max_grad_norm": None, "dtype": "float32"}
    module = make_module(folder, engine=engine, **options)
    trainer.fit(module, make_data())
    metrics = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
    torch.save((weights(module), metrics), f"{out}-{trainer.global_rank}")


@pytest.fixture
def no_leftovers():
    """On a CPU vLLM names a group's shared memory alike in all runs, and leaves it behind."""
    for path in Path("/dev/shm").glob("-tp:*cpushm_*"):
        path.unlink()


@pytest.mark.usefixtures("no_leftovers")
@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_two_processes_train_what_one_does(folder, tmp_path, engine, tensor_parallel):
    out = str(tmp_path / "ranks")
    run_ranks(ranks, folder, out, tensor_parallel, log=tmp_path / "log", timeout=300)
    two = [torch.load(f"{out}-{rank}") for rank in range(2)]
    assert torch.equal(two[0][0], two[1][0])
    assert two[0][1][TAG] < LOGP
    module, _, _ = fit(
        folder,
        tmp_path,
        2,
        engine=engine,
        verifier=EvenIsRight(),
        max_grad_norm=None,
        dtype="float32",
    )
    rounded(two[0][0], weights(module), 1e-4)
