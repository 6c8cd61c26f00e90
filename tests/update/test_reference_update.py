"""A reference that moves: by hand, by rules, in checkpoints, with adapters and over processes."""

import math
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, Recorder, make_data, make_module, make_trainer, weights
from lightning.pytorch import Callback
from near import ROUNDING, same
from processes import run_ranks
from test_strategies import final, same_weights, train

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.cli import main
from fgexpo.cli.export import export
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA, merged
from fgexpo.robustness.checkpoint import AtomicCheckpointIO, read_checkpoint
from fgexpo.update import Averaged, Reset

ADAPTERS = LoRA(rank=4, alpha=8)
KINDS = {"whole": {}, "lora": {"lora": ADAPTERS}}


class Watch(Callback):
    """What policy, reference and optimizer hold after each step."""

    def __init__(self):
        self.policy, self.reference, self.moments = [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.policy.append({n: w.detach().clone() for n, w in pl_module.policy.named_parameters()})
        self.reference.append({n: w.clone() for n, w in pl_module.reference.weights().items()})
        state = pl_module.optimizers().optimizer.state
        self.moments.append({int(values["step"]) for values in state.values()})


def run(folder, tmp_path, steps, update, resume=None, **options):
    """One update a step, so that the KL that is logged is the one before it."""
    watch, recorder = Watch(), Recorder()
    saver = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path / "checkpoints"))
    trainer = make_trainer(
        tmp_path,
        steps,
        [saver, watch, recorder],
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
    )
    defaults = {
        "verifier": EvenIsRight(),
        "kl_coef": 0.1,
        "mini_batch_questions": 4,
        "optimizer": lambda params: torch.optim.AdamW(params, lr=1e-2),
        "warmup_steps": 0,
    }
    module = make_module(folder, reference_update=update, **{**defaults, **options})
    trainer.fit(module, make_data(), ckpt_path=resume)
    return module, watch, recorder


def saved(tmp_path, step):
    return str(tmp_path / "checkpoints" / f"step={step:06d}.ckpt")


def kls(recorder):
    return [metrics["kl"] for metrics in recorder.metrics]


def test_when_a_reset_is_due():
    by_steps, by_kl, both = Reset(2), Reset(above_kl=0.1), Reset(3, 0.1)
    assert [by_steps.due(step, 9.0) for step in (1, 2, 3, 4)] == [False, True, False, True]
    assert [by_kl.due(1, kl) for kl in (0.05, 0.1, 0.11, math.nan, math.inf, None)] == [
        *(False, False, True),
        *(False, False, False),
    ]
    assert [both.due(1, 0.2), both.due(3, 0.0), both.due(1, 0.0)] == [True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kl_is_zero_after_a_reset(model_folder, tmp_path, kind):
    _, watch, recorder = run(model_folder, tmp_path, 5, Reset(2), **KINDS[kind])
    found = kls(recorder)
    assert all(abs(kl) < ROUNDING for kl in found[::2]), found
    assert all(kl > ROUNDING for kl in found[1::2]), found
    assert [metrics["reference/resets"] for metrics in recorder.metrics] == [0, 1, 1, 2, 2]
    for name, weight in watch.reference[3].items():
        assert torch.equal(weight, watch.policy[3][name])
    # The moments are forgotten at the end of steps 2 and 4.
    assert watch.moments == [{1}, set(), {1}, set(), {1}]


def test_the_moments_may_stay(model_folder, tmp_path):
    _, watch, _ = run(model_folder, tmp_path, 3, Reset(2, reset_optimizer=False))
    assert watch.moments == [{1}, {2}, {3}]


def test_a_reset_when_the_kl_has_grown(model_folder, tmp_path):
    _, _, plain = run(model_folder, tmp_path, 4, None)
    growing = kls(plain)
    assert growing[1] < growing[2]
    bound = (growing[1] + growing[2]) / 2
    _, _, recorder = run(model_folder, tmp_path, 4, Reset(above_kl=bound))
    found = kls(recorder)
    assert found[:3] == growing[:3] and abs(found[3]) < ROUNDING < growing[3]
    assert [metrics["reference/resets"] for metrics in recorder.metrics] == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_an_average_by_hand(model_folder, tmp_path, kind):
    """Weights, and what they say of the next step's rollouts by a model that is made of them."""
    module, watch, recorder = run(model_folder, tmp_path, 3, Averaged(0.75), **KINDS[kind])
    fresh = make_module(model_folder, **KINDS[kind])
    fresh.trainer = make_trainer(tmp_path, 1)
    fresh.configure_model()
    mean = {name: fresh.policy.get_parameter(name).detach() for name in watch.reference[0]}
    before = []
    for policy, reference in zip(watch.policy, watch.reference, strict=True):
        before.append(mean)
        mean = {name: 0.75 * old + 0.25 * policy[name] for name, old in mean.items()}
        for name, weight in reference.items():
            same(weight, mean[name])
    apart = load_model(model_folder, "float64")
    names = {**{n: w.detach() for n, w in module.policy.named_parameters()}, **before[2]}
    apart.load_state_dict(dict(merged(names, ADAPTERS.scale)), strict=False)
    batch = recorder.batches[2]
    with torch.no_grad():
        logp_NT, _ = completion_logprobs(apart, batch.sequences)
    same(batch.ref_logp_NT, logp_NT)
    assert "reference/resets" not in recorder.metrics[0]


RULES = {"reset": lambda: Reset(2), "averaged": lambda: Averaged(0.75)}


# Each rule and each kind once; the slow test has the other pairs.
@pytest.mark.parametrize(("kind", "rule"), [("whole", "averaged"), ("lora", "reset")])
def test_a_resumed_run_equals_an_undisturbed_one(model_folder, tmp_path, kind, rule):
    make = RULES[rule]
    whole, watch, rows = run(model_folder, tmp_path, 5, make(), **KINDS[kind])
    path = saved(tmp_path, 3)
    again, other, rest = run(model_folder, tmp_path / "again", 5, make(), path, **KINDS[kind])
    assert kls(rest) == kls(rows)[3:]
    assert torch.equal(weights(again), weights(whole))
    for name, weight in watch.reference[-1].items():
        assert torch.equal(other.reference[-1][name], weight)
    if rule == "reset":
        assert rest.metrics[-1]["reference/resets"] == 2
    # Without the rule it stays where the checkpoint has it.
    _, still, _ = run(model_folder, tmp_path / "still", 4, None, path, **KINDS[kind])
    for name, weight in watch.reference[2].items():
        assert torch.equal(still.reference[-1][name], weight)
    assert "reference" in read_checkpoint(saved(tmp_path / "still", 4))["fgexpo"]


def test_a_checkpoint_without_one_begins_at_the_start(model_folder, tmp_path):
    run(model_folder, tmp_path, 1, None)
    path = saved(tmp_path, 1)
    assert not {"reference", "reference_update"} & read_checkpoint(path)["fgexpo"].keys()
    module, watch, _ = run(model_folder, tmp_path / "again", 2, Reset(9), path)
    start = dict(load_model(model_folder, "float64").named_parameters())
    for name, weight in watch.reference[-1].items():
        assert torch.equal(weight, start[name])
    assert not module.reference.moved
    assert "reference" not in read_checkpoint(saved(tmp_path / "again", 2))["fgexpo"]


def test_another_models_reference_is_refused(model_folder, tmp_path):
    run(model_folder, tmp_path, 1, Reset(1))
    path = saved(tmp_path, 1)
    spoilt = torch.load(path, weights_only=True)
    name, weight = spoilt["fgexpo"]["reference"].popitem()
    spoilt["fgexpo"]["reference"][name] = weight[..., :-1]
    torch.save(spoilt, path)
    with pytest.raises(ValueError, match=r"--ckpt_path: the checkpoint's reference has weights of"):
        run(model_folder, tmp_path / "again", 2, Reset(1), path)


def test_an_export_is_the_policy_alone(model_folder, tmp_path):
    module, _, _ = run(model_folder, tmp_path, 2, Averaged(0.5), lora=ADAPTERS)
    export(saved(tmp_path, 2), str(tmp_path / "model"))
    found = load_model(str(tmp_path / "model"), "float64").state_dict()
    policy = {name: weight.detach() for name, weight in module.policy.state_dict().items()}
    for name, weight in merged(policy, ADAPTERS.scale):
        same(found.pop(name), weight)
    assert not found


def test_the_policy_gets_its_adapters_back(model_folder, tmp_path):
    """Bit for bit, even where scoring fails."""
    module, _, _ = run(model_folder, tmp_path, 2, Averaged(0.5), lora=ADAPTERS)
    before = weights(module)
    with torch.no_grad(), pytest.raises(ZeroDivisionError), module.reference.scoring(module.device):
        assert not torch.equal(weights(module), before)
        raise ZeroDivisionError
    assert torch.equal(weights(module), before)


REFUSED = [
    (lambda: Reset(), r"Reset needs every_steps or above_kl"),
    (lambda: Reset(0), r"model\.reference_update\.every_steps must be at least 1 or null, got 0"),
    (lambda: Reset(above_kl=0.0), r"model\.reference_update\.above_kl must be above 0 and finite"),
    (lambda: Reset(above_kl=math.nan), r"above_kl must be above 0 and finite, or null, got nan"),
    (lambda: Reset(above_kl=math.inf), r"above_kl must be above 0 and finite, or null, got inf"),
    *[
        (lambda decay=decay: Averaged(decay), r"model\.reference_update\.decay must be in \(0, 1\)")
        for decay in (0.0, 1.0, -0.5, math.nan)
    ],
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_settings_out_of_range(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_without_a_kl_term_there_is_nothing_to_move(model_folder):
    words = r"model\.reference_update is Averaged, but with model\.kl_coef = 0 there is no"
    with pytest.raises(ValueError, match=words):
        make_module(model_folder, kl_coef=0.0, reference_update=Averaged())


def test_yaml_finds_them_by_name(model_folder, capsys):
    config = str(Path(__file__).parents[2] / "configs" / "tiny.yaml")
    flags = ["--model.reference_update=Reset", "--model.reference_update.every_steps=7"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, f"--model.name={model_folder}", *flags, "--print_config"])
    printed = capsys.readouterr().out
    assert "class_path: fgexpo.update.Reset" in printed and "every_steps: 7" in printed


def options_of(name):
    """New ones for every run, since a rule counts."""
    shared = {"kl_coef": 0.1, "mini_batch_questions": 4}
    if name == "averaged":
        return {**shared, "reference_update": Averaged(0.75), "lora": ADAPTERS}
    return {**shared, "reference_update": Reset(above_kl=1e-4)}


# Two runs of two processes.
@pytest.mark.slow
def test_shards_move_alike_and_come_from_whole_weights_and_go_back(model_folder, tmp_path):
    one, two, back = (tmp_path / name for name in ("one", "two", "back"))
    train(model_folder, str(one), 1, "auto", options_of("reset"))
    options = {**options_of("reset"), "reference_offload": True}
    run_ranks(train, model_folder, str(two), 2, "fsdp2", options, log=tmp_path / "log")
    same_ends(one, two)
    assert final(two)["fgexpo"]["reference_update"]["resets"] > 0
    cut = str(two / "step=000002.ckpt")
    train(model_folder, str(back), 1, "auto", options_of("reset"), cut)
    same_ends(one, back)
    # And into shards, with adapters.
    one, two = tmp_path / "one-lora", tmp_path / "two-lora"
    train(model_folder, str(one), 1, "auto", options_of("averaged"))
    cut, options = str(one / "step=000002.ckpt"), options_of("averaged")
    run_ranks(train, model_folder, str(two), 2, "fsdp2", options, cut, log=tmp_path / "log-lora")
    same_ends(one, two)


def same_ends(one, two):
    same_weights(final(one), final(two))
    mine, theirs = (final(out)["fgexpo"] for out in (one, two))
    assert mine["reference"].keys() == theirs["reference"].keys()
    for name, weight in mine["reference"].items():
        same(theirs["reference"][name], weight)
    assert mine["reference_update"] == theirs["reference_update"]
