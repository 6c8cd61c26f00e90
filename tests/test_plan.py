import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from fgexpo.cli import main
from fgexpo.commands.plan import parse_fit
from fgexpo.lora import LoRA, adapt
from fgexpo.plan.activations import Work, count, prepare, run, spread
from fgexpo.plan.adapters import Adapters
from fgexpo.plan.advice import advise
from fgexpo.plan.decoding import count_wave, wave_of
from fgexpo.plan.engine import ENGINE_RESIDUE, ENGINE_WORKSPACE, GIB, engine_bytes
from fgexpo.plan.job import Call, Engine, Job, Optimizer
from fgexpo.plan.memory import RESERVE, plan_memory
from fgexpo.plan.reading import read_job
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of
from fgexpo.plan.storage import Bytes, StorageCounter, at_depth
from fgexpo.plan.timing import (
    FP32_SLOWER,
    GPUS,
    USE_BANDWIDTH,
    USE_LINK,
    body_flops,
    communication,
    generation,
    optimizer_seconds,
    plan_timing,
)
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.shapes import qwen3_8b_base, r1_distill_1p5b

ROOT = Path(__file__).parents[1]
PLAIN = ["--trainer.strategy=ddp", "--model.activation_checkpointing=false"]
R1 = ["plan", "--config", str(ROOT / "configs/r1_1p5b.yaml"), *PLAIN]
QWEN = ["plan", "--config", str(ROOT / "configs/qwen3_8b.yaml"), *PLAIN]
NODE = ["--gpus=8", "--gpu-memory=80"]
PASSES = ("score", "update")
ADAM = Optimizer("torch.optim.AdamW", {"lr": 1e-3})


def small(**changes):
    """One decoder layer; 21 x 8 embeddings."""
    defaults = {
        "vocab_size": 21,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "tie_word_embeddings": False,
    }
    return Qwen2Config(**{**defaults, **changes})


def job(**changes):
    defaults = {
        "config": small(num_hidden_layers=2),
        "optimizer": ADAM,
        "questions": 8,
        "group": 4,
        "mini_batch": 8,
        "max_prompt": 16,
        "max_new": 16,
        "micro_batch_tokens": 256,
    }
    return Job(**{**defaults, **changes})


def size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# Parameters, gradients, optimizer


def test_built_in_shapes_have_the_published_numbers_of_parameters():
    assert shape_of(r1_distill_1p5b()).count == 1_777_088_000
    assert shape_of(qwen3_8b_base()).count == 8_190_735_360


def test_a_tied_head_counts_once():
    tied, own = (shape_of(small(tie_word_embeddings=tied)) for tied in (True, False))
    assert own.count - tied.count == 21 * 8
    assert (tied.head, tied.tied, own.tied) == ((21, 8), True, False)


OPTIMIZERS = [
    ADAM,
    Optimizer("torch.optim.AdamW", {"lr": 1e-3, "amsgrad": True, "betas": [0.9, 0.99]}),
    Optimizer("torch.optim.SGD", {"lr": 1e-3, "momentum": 0.9}),
    Optimizer("torch.optim.SGD", {"lr": 1e-3}),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [None, LoRA(3), LoRA(2, targets=["q_proj", "up_proj"])], ids=str)
def test_state_is_that_of_a_real_model_to_the_byte(optimizer, dtype, lora):
    config = small(num_hidden_layers=2)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if lora is not None:
        adapt(model, lora, seed=0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    made = getattr(torch.optim, optimizer.class_path.rpartition(".")[2])(
        trained, **optimizer.arguments
    )
    model(input_ids=torch.zeros(1, 5, dtype=torch.int64)).logits.sum().backward()
    made.step()
    kept = [(key, value) for state in made.state.values() for key, value in state.items()]
    kept = [(key, value) for key, value in kept if isinstance(value, torch.Tensor)]

    adapters = None
    if lora is not None:
        targets = lora.targets if isinstance(lora.targets, str) else tuple(lora.targets)
        adapters = Adapters(lora.rank, targets)
    planned = job(config=config, dtype=dtype, optimizer=optimizer, adapters=adapters)
    found = state_of(planned.change(reference_dtype=dtype), shape_of(config))
    assert found.weights == size(model.parameters())
    assert found.gradients == size(parameter.grad for parameter in trained)
    assert found.optimizer_host == size(value for key, value in kept if key == "step")
    assert found.optimizer == size(value for key, value in kept if key != "step")
    frozen = size(AutoModelForCausalLM.from_config(config, dtype=dtype).parameters())
    assert found.reference == (0 if lora else frozen)
    assert not found.guessed


def test_counters_of_a_fused_optimizer_are_on_the_device():
    fused = Optimizer("torch.optim.AdamW", {"lr": 1e-3, "fused": True})
    shape = shape_of(small())
    plain, found = (state_of(job(config=small(), optimizer=o), shape) for o in (ADAM, fused))
    assert found.optimizer == plain.optimizer + plain.optimizer_host
    assert (plain.optimizer_host, found.optimizer_host) == (4 * len(shape.sizes), 0)
    assert found.step == 0


def test_an_optimizer_that_needs_values_is_said_to_be_guessed():
    found = state_of(job(optimizer=Optimizer("torch.optim.Adafactor")), shape_of(job().config))
    assert found.guessed and found.optimizer == 2 * found.weights


def test_fsdp2_holds_ceil_of_the_rows_of_every_weight():
    # Rows over 4 processes, rounded up, times columns: embedding and head 6 x 8 each, last norm 2;
    # q 2 x 8 + 2, k and v 1 x 8 + 1 each, o 2 x 8, gate and up 3 x 8 each, down 2 x 12, norms 2
    # each.
    own = 48 + 48 + 2 + 18 + 9 + 9 + 16 + 24 + 24 + 24 + 2 + 2
    planned = job(config=small(), processes=4, strategy="fsdp2", autocast=True)
    found = state_of(planned, shape_of(small()))
    assert own == 226
    assert (found.weights, found.gradients, found.reference) == (4 * own, 4 * own, 4 * own)
    assert (found.optimizer, found.buckets) == (8 * own, 0)
    assert found.step == 2 * 4 * 48


def test_shards_are_those_that_fsdp2_makes():
    from torch.distributed import destroy_process_group, init_process_group
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    config = small(num_hidden_layers=2)
    init_process_group("fake", rank=0, world_size=3, store=FakeStore())
    try:
        model = Qwen2ForCausalLM(config)
        fully_shard(model, mesh=init_device_mesh("cpu", (3,)))
        own = size(parameter.to_local() for parameter in model.parameters())
    finally:
        destroy_process_group()
    found = state_of(job(config=config, processes=3, strategy="fsdp2"), shape_of(config))
    assert found.weights == own


def test_ddp_has_flat_copies_of_the_gradients_unless_they_are_views():
    planned = job(processes=2, strategy="ddp")
    shape = shape_of(planned.config)
    assert state_of(planned, shape).buckets == 4 * shape.count
    assert state_of(planned.change(bucket_view=True), shape).buckets == 0


@pytest.mark.parametrize("foreach", [True, False])
def test_temporaries_of_a_real_step(foreach):
    sizes = [(30, 7), (5, 5), (11,)]
    parameters = [torch.nn.Parameter(torch.zeros(s)) for s in sizes]
    made = torch.optim.AdamW(parameters, foreach=foreach)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        known = [*parameters, *(p.grad for p in parameters)]
        known += [v for state in made.state.values() for v in state.values()]
        counter = StorageCounter(known)
        with counter:
            made.step()
    optimizer = Optimizer("torch.optim.AdamW", {"foreach": foreach})
    layered = replace(shape_of(small()), root=tuple(sizes), layers=())
    found = state_of(job(optimizer=optimizer), layered).step
    # Besides, scalars.
    assert counter.peak == pytest.approx(found, abs=32)


# Activations


def test_storage_is_counted_from_birth_to_end():
    known = torch.zeros(10)
    counter = StorageCounter([known])
    with counter:
        double = known * 2  # 40 bytes
        half = double.to(torch.bfloat16)  # 20
        view = double[2:].view(2, 4)
        del double
        assert counter.now == 60
        del view
        assert counter.now == 20
        known.add_(1)
        half = torch.zeros(3, dtype=torch.int64)  # 24, before the other 20 go
    assert (counter.now, counter.peak) == (24, 60)
    del half


def test_depths_are_run_only_as_far_as_needed():
    runs = []

    def straight(layers):
        runs.append(layers)
        return Bytes(10 * layers, 10 * layers + 7)

    def bent(layers):
        return Bytes(10 * layers, max(100, 10 * layers + 7))

    deep = small(num_hidden_layers=50)
    assert at_depth(straight, deep) == Bytes(500, 507)
    assert sorted(runs) == [2, 3]
    assert at_depth(bent, deep) == Bytes(500, 507)
    mixed = small(num_hidden_layers=6, layer_types=["full_attention"] * 5 + ["sliding_attention"])
    runs.clear()
    at_depth(straight, mixed)
    assert runs == [6]


def test_a_whole_model_is_what_two_depths_tell():
    deep = small(num_hidden_layers=7)
    for work in (Work(200, 50), Work(200, 50, checkpointing=True)):
        model = prepare(Qwen2ForCausalLM(deep), work)
        assert count(deep, replace(work, device="cpu")) == run(model, work)


@pytest.mark.parametrize("adapters", [None, Adapters(4)], ids=str)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_fake_tensors_count_as_real_ones_do(adapters, checkpointing, backward, dtype):
    config = small(num_hidden_layers=3, tie_word_embeddings=checkpointing)
    work = Work(
        tokens=100,
        longest=30,
        weights=dtype,
        autocast=dtype == torch.float32,
        backward=backward,
        entropy=not backward,
        checkpointing=checkpointing and backward,
        adapters=adapters,
        device="cpu",
    )
    model = Qwen2ForCausalLM(config).to(dtype)
    if adapters is not None:
        adapters.put_into(model)
    real = run(prepare(model, work), work)
    assert count(config, work) == real
    assert real.peak > real.kept > 0


def test_entropies_take_a_second_matrix_of_logits():
    config = small(vocab_size=5000)
    without = Work(2000, 64, backward=False, device="cpu")
    more = count(config, replace(without, entropy=True)).peak - count(config, without).peak
    assert more == pytest.approx(2000 * 5000 * 4, rel=0.01)


def test_no_matrix_of_tokens_by_tokens_is_made():
    one, two = (count(small(), Work(tokens, 64)).peak for tokens in (4096, 8192))
    assert two < 2.1 * one


def test_weights_are_kept_in_bf16_too_under_autocast_alone():
    # 8 x 12 more channels in one of the layer's three MLP matrices each, and their activations.
    work = Work(1, 1, autocast=True)
    narrow, wide = (small(intermediate_size=n) for n in (1200, 2400))
    more = count(wide, work).kept - count(narrow, work).kept
    weights = 3 * 8 * 1200 * 2
    assert weights < more < 1.4 * weights
    assert count(wide, replace(work, backward=False)).kept < 0.1 * weights
    gathered = replace(work, weights=torch.bfloat16)
    assert count(wide, gathered).kept - count(narrow, gathered).kept < 0.4 * weights


@pytest.mark.parametrize("tokens", [1, 40, 64, 65, 100, 1000, 16384])
def test_lengths_of_a_micro_batch(tokens):
    lengths = spread(tokens, 64)
    assert sum(lengths) == tokens
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] <= 64 and lengths[-1] > 0


# Rollouts


def request(prompts, group, new):
    return RolloutRequest(
        prompts=[[3] * (16 - n % 2) for n in range(prompts)],
        seeds=[list(range(group))] * prompts,
        sampling=Sampling(max_new_tokens=new),
        stop_ids=[],
        device=torch.device("cpu"),
        longest=16 + new,
    )


@pytest.mark.parametrize("new", [2, 200])
def test_decoding_takes_what_the_engine_takes(new):
    config = small(num_hidden_layers=3, hidden_size=64, intermediate_size=2000, vocab_size=50)
    planned = job(config=config, max_new=new)
    counted = count_wave(config, wave_of(planned, planned.calls[0]))
    model = Qwen2ForCausalLM(config).eval()
    asked = request(8, 4, new)
    counter = StorageCounter([*model.parameters(), *model.buffers()])
    with counter:
        Native().generate(model, asked)
    assert counted.peak == pytest.approx(counter.peak, rel=0.03)
    # Keys and values of one head of 32 channels, fp32, in 3 layers.
    assert counted.kept == 32 * (16 + new - 2) * 3 * 2 * 32 * 4


def test_native_waves_hold_whole_groups_and_the_worse_of_training_and_validation():
    planned = job(engine=Engine(rows=10))
    assert wave_of(planned, planned.calls[0]).prompts == 2
    assert wave_of(planned, Call(3, 16, 16)).prompts == 1
    alone = engine_bytes(planned, shape_of(planned.config), GIB)
    longer = planned.change(evaluation=Call(1, 4, 100))
    both = engine_bytes(longer, shape_of(planned.config), GIB)
    assert both.cache > alone.cache and both.at_once == alone.at_once == 8


def test_vllm_fills_its_share_with_the_cache():
    config = r1_distill_1p5b()
    engine = Engine("VLLM", memory=0.5, tensor_parallel=2, dtype=torch.bfloat16, rows=256)
    planned = job(
        config=config, processes=8, engine=engine, questions=256, group=8, autocast=True, max_new=48
    )
    found = engine_bytes(planned, shape_of(config), 80 * GIB)
    assert found.weights == 1_777_088_000 * 2 // 2
    assert found.weights + found.cache + found.rest == 40 * GIB
    # Keys and values of 1 of the 2 heads, of 128 channels in 28 layers, in bf16.
    assert found.token_bytes == 28 * 2 * 128 * 2
    assert found.tokens == found.cache // found.token_bytes
    assert (found.asleep, found.missing, found.at_once) == (ENGINE_RESIDUE, 0, 256)
    awake = planned.change(engine=replace(engine, sleep=False))
    assert engine_bytes(awake, shape_of(config), 80 * GIB).asleep == 40 * GIB


def test_a_share_without_room_for_one_sequence_does_not_fit():
    config = r1_distill_1p5b()
    engine = Engine("VLLM", memory=0.05, dtype=torch.bfloat16)
    planned = job(config=config, engine=engine, autocast=True, checkpointing=True)
    memory = plan_memory(planned, 80 * GIB)
    weights, sequence = 2 * 1_777_088_000, 32 * 28 * 2 * 256 * 2
    assert memory.engine.missing == weights + ENGINE_WORKSPACE + sequence - 4 * GIB
    assert memory.spare > 0 and not memory.fits
    advice = advise(planned, 80 * GIB)
    assert advice.flags == ["--model.engine.memory=0.15"]


def test_an_untied_copy_is_counted_for_a_tied_model():
    engine = Engine("VLLM", memory=0.5)
    tied = job(config=small(tie_word_embeddings=True), engine=engine)
    own = job(config=small(), engine=engine)
    found = [engine_bytes(one, shape_of(one.config), GIB).weights for one in (tied, own)]
    assert found[0] == found[1] == 4 * shape_of(small()).count


def test_a_server_takes_nothing_here():
    planned = job(engine=Engine("VLLMServer"))
    memory = plan_memory(planned, GIB)
    assert not any(size for kind, size in memory.phases["generate"].items() if "engine" in kind)
    timing = plan_timing(planned, memory.state, memory.engine, GPUS["h100"], None)
    assert timing.seconds["generate"] == 0


# Phases


def test_phases_are_the_sums_of_their_kinds():
    engine = Engine("VLLM", memory=0.3, dtype=torch.bfloat16)
    planned = job(config=r1_distill_1p5b(), processes=2, strategy="ddp", engine=engine)
    memory = plan_memory(planned, 80 * GIB)
    whole = 4 * 1_777_088_000
    # Weights, gradients, two moments, buckets, reference.
    assert memory.totals["generate"] == 6 * whole + 24 * GIB
    assert memory.totals["step"] == 7 * whole + ENGINE_RESIDUE
    work = count(planned.config, Work(256, 32, device="cuda"))
    assert memory.totals["update"] == 6 * whole + ENGINE_RESIDUE + work.peak
    work = count(planned.config, Work(256, 32, backward=False, entropy=True))
    assert memory.totals["score"] == 6 * whole + ENGINE_RESIDUE + work.peak
    assert memory.spare == 77 * GIB - max(memory.totals.values())
    assert memory.reserve == RESERVE == 3 * GIB


def test_the_reference_rests_on_the_host():
    planned = job(config=r1_distill_1p5b(), processes=2, strategy="ddp")
    here, away = (plan_memory(planned.change(offload=o), 80 * GIB) for o in (False, True))
    whole = 4 * 1_777_088_000
    saved = {phase: here.totals[phase] - away.totals[phase] for phase in here.totals}
    assert saved == {"generate": whole, "score": 0, "update": whole, "step": whole}
    assert away.host["reference at rest"] == 2 * whole
    sharded = plan_memory(planned.change(offload=True, strategy="fsdp2"), 80 * GIB)
    assert sharded.phases["score"]["reference"] == 0
    assert here.host["weights while they are loaded"] == 2 * 2 * whole
    assert sharded.host["weights while they are loaded"] == 2 * whole
    assert sharded.host["checkpoint while it is saved"] == 3 * whole


def test_a_reference_of_another_width_than_the_policy():
    planned = job(dtype=torch.bfloat16, reference_dtype=torch.float32)
    memory = plan_memory(planned, GIB)
    assert memory.state.reference == 2 * memory.state.weights


def test_fsdp2_gathers_layers_and_to_decode_everything():
    planned = full_size(strategy="fsdp2", engine=Engine(), max_new=31, max_prompt=1)
    phases = plan_memory(planned, 80 * GIB).phases
    shape = shape_of(planned.config)
    root = 2 * 151936 * 1536 + 1536
    assert phases["generate"]["gathered weights"] == 2 * (shape.count + root)
    layer = shape.largest_layer
    assert 28 * layer + root == shape.count
    assert phases["score"]["gathered weights"] == 2 * (root + 4 * layer)
    # With all activations there: the head's gradient, one layer's, and two layers' in fp32.
    middle = 2 * (root + 4 * layer) + 2 * (151936 * 1536 + layer) + 4 * 2 * layer
    assert phases["update"]["gathered weights"] == middle

    tiny = plan_memory(planned.change(micro_batch_tokens=32), 80 * GIB).phases
    work = {
        phase: tiny[phase]["activations"] + tiny[phase]["LM head, transients"] for phase in PASSES
    }
    # Before any layer: the root and the buffer that it came in. After all: its gradients too.
    assert tiny["score"]["gathered weights"] == 2 * 2 * root - work["score"]
    assert tiny["update"]["gathered weights"] == 8 * root + 4 * layer - work["update"]
    # vLLM gets whole weights, in fp32, before its cache is there, unless it stays awake.
    for sleep, gathered in ((True, 0), (False, 4 * 151936 * 1536)):
        with_vllm = planned.change(engine=Engine("VLLM", dtype=torch.bfloat16, sleep=sleep))
        phases = plan_memory(with_vllm, 80 * GIB).phases
        assert phases["generate"]["gathered weights"] == gathered


# Time


def test_operations_of_a_forward_pass():
    # q and o 8 x 8, k and v 4 x 8, three MLP matrices 12 x 8; scores and their sums over half of
    # the pairs, 2 heads of 4 channels.
    matrices = 2 * 64 + 2 * 32 + 3 * 96
    planned = job(config=small())
    assert body_flops(planned, shape_of(small()), 10) == 2 * matrices * 10 + 2 * 8 * 100


def test_collectives():
    gpu = GPUS["h100"]
    link = gpu.link * USE_LINK
    planned = job(processes=4, strategy="ddp", mini_batch=4)  # 2 updates
    shape = shape_of(planned.config)
    state = state_of(planned, shape)
    found = communication(planned, shape, state, gpu, 32)
    assert found == (0.0, pytest.approx(2 * 2 * 0.75 * 4 * shape.count / link))
    assert communication(job(), shape, state, gpu, 32) == (0.0, 0.0)
    # 8 rollouts of 32 tokens a process, of which 4 are an update's, make 2 micro-batches; scoring
    # goes through them with the reference too.
    sharded = planned.change(strategy="fsdp2", autocast=True)
    state = state_of(sharded, shape)
    gather, spread_out = 0.75 * 2 * shape.count / link, 0.75 * 4 * state.gradients / link
    found = communication(sharded, shape, state, gpu, 32)
    assert found == pytest.approx((2 * 2 * gather, 2 * (2 * gather + spread_out)))


def test_an_update_is_three_passes_and_its_optimizer():
    gpu = GPUS["h100"]
    planned = job(config=r1_distill_1p5b(), autocast=True, engine=Engine("VLLM", memory=0.3))

    def timing(changed):
        memory = plan_memory(changed, 140 * GIB)
        return plan_timing(changed, memory.state, memory.engine, gpu, 16.0)

    plain = timing(planned)
    assert (plain.prompt, plain.completion) == (0.15 * 16, 16.0)
    body = 32 * body_flops(planned, shape_of(planned.config), 16 + 0.15 * 16)
    head = 32 * 16 * 2 * 151936 * 1536
    state = state_of(planned, shape_of(planned.config))
    speed = 0.3 * 989e12
    adam = 7 * 4 * 1_777_088_000 / (3.35e12 * USE_BANDWIDTH)
    assert optimizer_seconds(planned, state, gpu) == pytest.approx(adam)
    assert plain.seconds["update"] == pytest.approx((3 * body + 4 * head) / speed + adam)
    again = timing(planned.change(checkpointing=True))
    assert again.seconds["update"] - plain.seconds["update"] == pytest.approx(body / speed)
    alone = timing(planned.change(reference=False))
    assert plain.seconds["score"] == pytest.approx(2 * alone.seconds["score"])
    full = timing(planned.change(autocast=False))
    assert full.seconds["score"] == pytest.approx(FP32_SLOWER * plain.seconds["score"])
    assert plain.step == sum(plain.seconds.values())


def test_decoding_reads_weights_and_cache_for_every_token():
    gpu = GPUS["h100"]
    config = r1_distill_1p5b()
    engine = Engine("VLLM", memory=0.3, dtype=torch.bfloat16, rows=8)
    planned = job(config=config, autocast=True, engine=engine, max_prompt=20, max_new=100)
    shape = shape_of(config)
    matrices = shape.matrices + 151936 * 1536

    def seconds(rows, width, token_bytes):
        """Of a token of each, at 3 tokens of prompt and half of 60."""
        return (matrices * width + rows * 33 * token_bytes) / (3.35e12 * USE_BANDWIDTH) + 0.005

    bytes_here = engine_bytes(planned, shape, 80 * GIB)
    found, at_once = generation(planned, shape, bytes_here, gpu, 3.0, 60.0)
    prompts = 8 * body_flops(planned, shape, 3.0) / (0.4 * 989e12)
    token = 28 * 2 * 256 * 2
    # 32 rollouts, 8 at a time; then the longest ones go on for 40 tokens.
    decoding = 4 * 60 * seconds(8, 2, token) + 40 * seconds(1, 2, token)
    assert (found, at_once) == (pytest.approx(decoding + prompts), 8)

    crowded = replace(bytes_here, tokens=2 * 33 + 5)
    assert generation(planned, shape, crowded, gpu, 3.0, 60.0)[1] == 2

    # The policy itself reads its fp32 weights, and waits for the longest in each of 4 waves.
    native = planned.change(engine=Engine(rows=8))
    own = replace(bytes_here, token_bytes=2 * token)
    found, _ = generation(native, shape, own, gpu, 3.0, 60.0)
    decoding = 4 * (60 * seconds(8, 4, 2 * token) + 40 * seconds(1, 4, 2 * token))
    assert found == pytest.approx(decoding + prompts)


# Advice


def full_size(**changes):
    defaults = {
        "config": r1_distill_1p5b(),
        "processes": 8,
        "strategy": "ddp",
        "autocast": True,
        "engine": Engine("VLLM", 0.5, 2, torch.bfloat16, True, 256),
        "questions": 256,
        "group": 8,
        "mini_batch": 32,
        "max_prompt": 1024,
        "max_new": 3072,
        "micro_batch_tokens": 16384,
    }
    return job(**{**defaults, **changes})


@pytest.mark.parametrize("memory", [24, 40, 80])
def test_advice_fits_and_nothing_of_it_can_be_left_out(memory):
    planned = full_size()
    assert not plan_memory(planned, memory * GIB).fits
    advice = advise(planned, memory * GIB)
    assert advice.job is not None and plan_memory(advice.job, memory * GIB).fits
    assert advice.memory == plan_memory(advice.job, memory * GIB)
    settings = {
        "--model.reference_offload": "offload",
        "--model.activation_checkpointing": "checkpointing",
        "--model.micro_batch_tokens": "micro_batch_tokens",
        "--trainer.strategy": "strategy",
        "--model.engine.memory": "engine",
        "--model.lora.rank": "adapters",
    }
    changed = {
        name for name in vars(planned) if getattr(planned, name) != getattr(advice.job, name)
    }
    named = {settings[flag.partition("=")[0]] for flag in advice.flags}
    assert changed == named
    for name in changed - {"adapters"}:
        without = advice.job.change(**{name: getattr(planned, name)})
        assert not plan_memory(without, memory * GIB).fits


def test_advice_lowers_what_is_missing_with_every_change():
    advice = advise(full_size(), 24 * GIB)
    left = [change.together for change in advice.changes]
    assert left == sorted(left, reverse=True) and len(set(left)) == len(left)
    assert left[-1] == 0


def test_there_may_be_no_advice():
    advice = advise(full_size(config=qwen3_8b_base(), strategy="fsdp2", processes=1), 8 * GIB)
    assert advice.memory is None and not advice.flags and advice.changes


def test_an_engine_that_stays_awake_is_put_to_sleep_first():
    engine = Engine("VLLM", 0.6, 2, torch.bfloat16, False, 256)
    planned = full_size(engine=engine, offload=True, checkpointing=True, micro_batch_tokens=4096)
    advice = advise(planned, 96 * GIB)
    assert advice.flags == ["--model.engine.sleep=true"]


def test_native_decoding_is_cut_into_smaller_waves():
    planned = job(
        config=r1_distill_1p5b(),
        autocast=True,
        questions=64,
        group=8,
        mini_batch=64,
        max_new=1024,
        checkpointing=True,
        engine=Engine(rows=1024),
        micro_batch_tokens=2048,
        offload=True,
    )
    assert advise(planned, 50 * GIB).flags == ["--model.engine.max_rows=256"]


# The command


def read(arguments, shape, gpus=None):
    return read_job(parse_fit(arguments[1:]), shape, gpus)


def test_every_setting_is_read():
    flags = [
        "--model.lora.rank=8",
        "--model.lora.targets=[q_proj,v_proj]",
        "--model.engine.memory=0.35",
        "--model.engine.max_sequences=77",
        "--model.engine.sleep=false",
        "--model.sampling.max_new_tokens=2000",
        "--model.evaluation.sampling.max_new_tokens=5000",
        "--model.evaluation.rollouts=6",
        "--data.questions_per_eval_batch=9",
        "--model.inner_epochs=2",
        "--model.micro_batch_tokens=9000",
        "--model.activation_checkpointing=true",
        "--trainer.num_nodes=2",
        "--trainer.devices=4",
    ]
    shape = small()
    found = read([*R1, *flags, "--model.optimizer.amsgrad=true"], shape)
    assert found.optimizer.class_path == "torch.optim.AdamW"
    assert found.optimizer.arguments["amsgrad"] and found.optimizer.arguments["lr"] == 1e-6
    assert found == Job(
        config=shape,
        processes=8,
        nodes=2,
        strategy="ddp",
        autocast=True,
        optimizer=found.optimizer,
        engine=Engine("VLLM", 0.35, 2, torch.bfloat16, False, 77),
        adapters=Adapters(8, ("q_proj", "v_proj")),
        checkpointing=True,
        questions=256,
        group=8,
        mini_batch=32,
        inner_epochs=2,
        micro_batch_tokens=9000,
        max_prompt=1024,
        max_new=2000,
        evaluation=Call(9, 6, 5000, filtered=True),
        steps=2010,
    )


def test_settings_that_mean_something_else_than_they_say():
    half = read([*R1, "--trainer.precision=bf16-true"], small())
    assert (half.dtype, half.reference_dtype) == (torch.bfloat16, torch.float32)
    assert not half.autocast and half.compute == torch.bfloat16
    bare = read([*R1, "--model.kl_coef=0", "--akl=null", "--model.reference_offload=true"], small())
    assert bare.offload and not bare.reference
    assert state_of(bare, shape_of(bare.config)).reference == 0
    tiny = ["plan", "--config", str(ROOT / "configs/tiny.yaml")]
    found = read([*tiny, "--data.val=null", "--trainer.devices=2"], small(), gpus=5)
    assert (found.processes, found.strategy, found.cpu) == (2, "ddp", True)
    assert found.evaluation is None and found.engine == Engine(rows=1024)
    assert read([*R1, "--trainer.strategy=auto"], small(), gpus=8).strategy == "ddp"
    alone = [*R1, "--trainer.strategy=auto", "--model.engine.tensor_parallel=1"]
    assert read(alone, small(), gpus=1).strategy == "one process"
    views = [*tiny, "--trainer.strategy=DDPStrategy", "--trainer.devices=2"]
    views += ["--trainer.strategy.gradient_as_bucket_view=true"]
    assert read(views, small()).bucket_view
    server = [*R1, "--model.engine=VLLMServer", "--model.engine.url=http://node7:8000"]
    assert read(server, small(), gpus=8).engine.kind == "VLLMServer"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"a plan must not ask the network, tried {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def plan(arguments, capsys):
    """Exit status and what was printed."""
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_a_run_that_fits(capsys, no_network):
    status, text = plan(["plan", "--config", str(ROOT / "configs/tiny.yaml")], capsys)
    assert status == 0
    assert "309,408 parameters (shape: configs/tiny_base.yaml)" in text
    assert "it fits" in text


def advised(text):
    """The flags that a plan names in the end."""
    lines = text.partition("the fewest that fit")[2].splitlines()[1:]
    return [flag for line in lines if line.startswith("  --") for flag in line.split()]


def test_a_run_that_does_not_fit_names_flags_with_which_it_does(capsys, no_network):
    status, text = plan([*R1, *NODE], capsys)
    assert status == 1
    assert "1,777,088,000 parameters (shape: built in (fgexpo/shapes.py)" in text
    assert "it does not fit" in text
    flags = advised(text)
    assert flags == ["--model.reference_offload=true", "--model.activation_checkpointing=true"]
    status, text = plan([*R1, *NODE, *flags], capsys)
    assert status == 0 and "it fits" in text
    for one in flags:
        assert plan([*R1, *NODE, one], capsys)[0] == 1


SPARSE = [
    [*QWEN, *NODE],
    [*QWEN, "--gpus=8", "--gpu=rtx4090"],
    [*QWEN, "--gpus=2", "--gpu-memory=140"],
    [*QWEN, "--gpus=8", "--gpu=b200", "--model.engine.sleep=false", "--model.engine.dtype=float32"],
    [*QWEN, "--gpus=2", "--gpu-memory=72", "--model.reference_offload=true"],
    [*R1, "--gpus=1", "--gpu=l40s", "--model.engine.tensor_parallel=1"],
    [*R1, "--gpus=1", "--gpu-memory=24", "--model.engine.tensor_parallel=1"],
    [*R1, "--gpus=8", "--model.engine=Native", "--model.engine.max_rows=512"],
    [*R1, *NODE, "--trainer.precision=32-true", "--model.micro_batch_tokens=65536"],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SPARSE, ids=lambda a: " ".join(a[5:]))
def test_advice_holds_when_it_is_followed(arguments, capsys, no_network):
    status, text = plan(arguments, capsys)
    flags = advised(text)
    assert status == 1 and flags
    status, text = plan([*arguments, *flags], capsys)
    assert status == 0 and "it fits" in text


@pytest.mark.parametrize("name", ["r1_1p5b", "qwen3_8b"])
def test_full_size_configs_fit_the_node_that_they_are_made_for(name, capsys, no_network):
    status, text = plan(["plan", "--config", str(ROOT / f"configs/{name}.yaml"), *NODE], capsys)
    assert status == 0 and "8 x h100 of 80.00 GiB" in text


def test_settings_reach_the_plan(capsys):
    flags = [
        "--model.lora.rank=8",
        "--model.activation_checkpointing=true",
        "--trainer.strategy=fsdp2",
        "--mean-length=500",
        "--gpu=h200",
    ]
    status, text = plan([*R1, *flags], capsys)
    assert status == 0
    assert "8 x h200 of 140.00 GiB, fsdp2" in text
    assert "mean completion 500 tokens (given" in text
    assert "reference" not in text  # it is the policy without adapters


MISTAKES = [
    (["--gpu=v100"], "--gpu must be one of a100, h100"),
    (["--gpus=0"], "--gpus must be positive, got 0"),
    (["--gpu-memory=-1"], "--gpu-memory must be positive, got -1.0"),
    (["--mean-length=0"], "--mean-length must be positive, got 0.0"),
    (["--trainer.precision=64-true"], "trainer.precision: plan knows 32-true"),
    (["--trainer.strategy=deepspeed"], "trainer.strategy: plan knows auto, ddp and fsdp2, got"),
    (["--gpus=6"], "model.mini_batch_questions = 32 is not divisible by the 6 processes"),
    (["--gpus=1"], "model.engine.tensor_parallel = 2 must divide the 1 processes"),
    (["--model.dtype=int64"], "model.dtype must name a floating torch dtype, got 'int64'"),
    (["--model.name=runs/none"], "model.name: folder 'runs/none' does not exist"),
    (
        ["--model.lora.rank=8", "--model.reference_offload=true"],
        "model.reference_offload has nothing to move",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: value[0])
def test_mistakes_are_named(arguments, message, capsys):
    status, text = plan([*R1, *arguments], capsys)
    assert status == 2
    assert message in " ".join(text.split())


@pytest.mark.parametrize("name", ["tiny_base", "eval/tiny"])
def test_what_is_no_grpo_run_cannot_be_planned(name, capsys):
    status, text = plan(["plan", "--config", str(ROOT / f"configs/{name}.yaml")], capsys)
    assert status == 2 and ": plan expects a " in text
