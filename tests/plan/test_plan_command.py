"""The `plan` command: what it reads, prints and refuses."""

import re
import socket
from functools import cache
from pathlib import Path

import pytest
import torch
from jsonargparse import Namespace
from plans import small

from fgexpo.cli import main
from fgexpo.cli.plan import parse_fit, read_request
from fgexpo.errors import UserError
from fgexpo.plan import cpu_rates
from fgexpo.plan.adapters import Adapters
from fgexpo.plan.from_config import check_classes, read_job
from fgexpo.plan.generation import GIB
from fgexpo.plan.gpus import gpu_named
from fgexpo.plan.job import Call, Engine, Job
from fgexpo.plan.known_models import find_config
from fgexpo.plan.memory import plan_memory
from fgexpo.plan.shape import shape_of
from fgexpo.plan.state import state_of

ROOT = Path(__file__).parents[2]
PLAIN = ["--trainer.strategy=ddp", "--model.activation_checkpointing=false"]
R1 = ["plan", "--config", str(ROOT / "configs/r1_1p5b.yaml"), *PLAIN]
QWEN = ["plan", "--config", str(ROOT / "configs/qwen3_8b.yaml"), *PLAIN]
NODE = ["--gpus=8", "--gpu-memory=80"]


@cache
def parsed(*arguments):
    """A parsed command line; reading one takes seconds."""
    return parse_fit(list(arguments))


def read(arguments, shape, gpus=None):
    return read_job(parsed(*arguments[1:]), shape, gpus)


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
        "--model.refill=Refill",
        "--model.refill.max_waves=3",
        "--model.inner_epochs=2",
        "--model.micro_batch_tokens=9000",
        "--model.activation_checkpointing=true",
        "--trainer.num_nodes=2",
        "--trainer.devices=4",
        "--checkpoint.sharded=true",
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
        sharded=True,
        questions=256,
        group=8,
        mini_batch=32,
        inner_epochs=2,
        micro_batch_tokens=9000,
        max_prompt=1024,
        max_new=2000,
        waves=3,
        evaluation=Call(9, 6, 5000, filtered=True),
        steps=2010,
    )


def changed(arguments, gpus=None, **settings):
    """The job of a parsed command line with some settings changed, ``__`` for a dot."""
    config = parsed(*arguments[1:]).clone()
    for key, value in settings.items():
        config[key.replace("__", ".")] = value
    return read_job(config, small(), gpus)


def test_settings_that_mean_something_else_than_they_say():
    half = changed(R1, model__init_args__dtype="bfloat16", trainer__precision="32-true")
    assert half.dtype == half.compute == torch.bfloat16 and not half.autocast
    bare = changed(R1, model__init_args__kl_coef=0.0, model__init_args__reference_offload=True)
    assert bare.offload and not bare.reference
    assert state_of(bare, shape_of(bare.config)).reference == 0
    tiny = ["plan", "--config", str(ROOT / "configs/tiny.yaml")]
    found = changed(tiny, gpus=5, data__init_args__val=None, trainer__devices=2)
    assert (found.processes, found.strategy, found.cpu) == (2, "ddp", True)
    assert found.evaluation is None and found.engine == Engine(rows=1024)
    assert changed(R1, 8, trainer__strategy="auto").strategy == "ddp"
    one = {"trainer__strategy": "auto", "model__init_args__engine__init_args__tensor_parallel": 1}
    assert changed(R1, 1, **one).strategy == "one process"
    view = {"class_path": "DDPStrategy", "init_args": Namespace(gradient_as_bucket_view=True)}
    assert changed(tiny, trainer__devices=2, trainer__strategy=Namespace(**view)).bucket_view
    server = Namespace(class_path="fgexpo.rollout.VLLMServer", init_args=Namespace(url="x"))
    assert changed(R1, 8, model__init_args__engine=server).engine.kind == "VLLMServer"


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


def test_a_run_that_fits(capsys, no_network, tmp_path, monkeypatch):
    # Where the base has not been made yet.
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cpu_rates, "SECONDS", 0.0)
    monkeypatch.setattr(cpu_rates, "PRODUCTS", 1e7)
    status, text = plan(["plan", "--config", "configs/tiny.yaml", "--mean-length=9"], capsys)
    assert status == 0
    for part in ("seconds per step", "mean completion 9 tokens (given", "no questions were read"):
        assert part in " ".join(text.split())
    assert "GFLOP/s" in text and "--gpus and --gpu are not used" in text
    assert "309,408 parameters (shape: configs/tiny_base.yaml)" in text
    assert "it fits" in text


def advised(text):
    """The flags that a plan names in the end."""
    lines = text.partition("the fewest changes that fit")[2].splitlines()[1:]
    return [flag for line in lines if line.startswith("  --") for flag in line.split()]


def test_a_run_that_does_not_fit_names_flags_with_which_it_does(capsys, no_network):
    status, text = plan([*R1, *NODE], capsys)
    assert status == 1
    shape = "1,777,088,000 parameters (shape: built in (fgexpo/plan/known_models.py)"
    assert shape in " ".join(text.split())
    assert "it does not fit" in text
    flags = advised(text)
    assert flags == ["--model.reference_offload=true", "--model.activation_checkpointing=true"]
    job = read(R1, find_config("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B")[0], 8)
    both = job.change(offload=True, checkpointing=True)
    assert plan_memory(both, 80 * GIB).fits
    for one in (job.change(offload=True), job.change(checkpointing=True)):
        assert not plan_memory(one, 80 * GIB).fits


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


@pytest.mark.parametrize(("name", "seconds"), [("r1_1p5b", 62), ("qwen3_8b", 250)])
def test_full_size_configs_fit_the_node_that_they_are_made_for(name, seconds, capsys, no_network):
    status, text = plan(["plan", "--config", str(ROOT / f"configs/{name}.yaml"), *NODE], capsys)
    assert status == 0 and "8 x h100 of 80.00 GiB" in text
    [step] = re.findall(r"│ step +│ +([\d.]+) │", text)
    assert float(step) <= seconds


def test_settings_reach_the_plan(capsys, model_folder):
    flags = [
        f"--model.name={model_folder}",  # smaller, and so quicker, than what the file names
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


LORA = Namespace(rank=8, targets="all-linear")
MISTAKES = [
    ({"trainer.precision": "64-true"}, 8, "trainer.precision: plan knows 32-true"),
    ({"trainer.precision": "bf16-true"}, 8, "trainer.precision: plan knows 32-true"),
    (
        {"model.init_args.lora": LORA, "model.init_args.dtype": "bfloat16"},
        8,
        "model.lora needs model.dtype = float32",
    ),
    ({"trainer.strategy": "deepspeed"}, 8, "trainer.strategy: plan knows auto, ddp and fsdp2, got"),
    ({}, 6, "model.mini_batch_questions = 32 is not divisible by the 6 processes"),
    ({}, 1, "model.engine.tensor_parallel = 2 must divide the 1 processes"),
    ({"model.init_args.dtype": "int64"}, 8, "model.dtype must name a floating torch dtype, got"),
    (
        {"model.init_args.lora": LORA, "model.init_args.reference_offload": True},
        8,
        "model.reference_offload has nothing to move",
    ),
]


def test_mistakes_in_settings_are_named():
    for settings, gpus, message in MISTAKES:
        with pytest.raises(UserError, match=re.escape(message)):
            changed(R1, gpus, **settings)
    with pytest.raises(UserError, match=r"model\.name: folder 'runs/none' does not exist"):
        find_config("runs/none")


def test_mistakes_in_the_plans_own_options_are_named(capsys):
    for name, value in (("gpus", "0"), ("gpu-memory", "-1.0"), ("mean-length", "0.0")):
        with pytest.raises(UserError, match=f"--{name} must be positive, got {value}"):
            read_request([f"--{name}={value}"])
    with pytest.raises(UserError, match="--gpu must be one of a100, h100"):
        gpu_named("v100")
    status, text = plan([*R1, "--gpus=6"], capsys)
    assert status == 2 and "model.mini_batch_questions = 32 is not" in " ".join(text.split())


def test_what_is_no_grpo_run_cannot_be_planned():
    with pytest.raises(UserError, match=r"model: plan expects a GRPOModule, got .*Supervised"):
        check_classes(parsed("--config", str(ROOT / "configs/tiny_base.yaml")))
    config = parsed(*R1[1:]).clone()
    config["data.class_path"] = "datamodules.EvaluationDataModule"
    with pytest.raises(UserError, match="data: plan expects a CurriculumDataModule"):
        check_classes(config)


def test_a_plan_knows_where_the_kl_is():
    recipe = ["--config", str(ROOT / "configs/recipes/rloo.yaml")]
    assert not read(R1, small()).kl_in_reward
    assert read([*R1, *recipe], small()).kl_in_reward
