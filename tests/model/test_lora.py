"""Adapters beside frozen weights: what is trained, what the reference is, what an export holds."""

import pytest
import torch
from helpers import fit, make_data, make_module, make_trainer
from near import same
from test_strategies import ADAPTERS, adamw

from fgexpo.callbacks import ExportPolicy, RolloutCheckpoint
from fgexpo.cli.export import export
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA, adapt, adapters_off, is_adapted, merged
from fgexpo.model.sequences import join_solutions
from fgexpo.parallel.whole_weights import full_weights


def sequences():
    return join_solutions([[3, 4, 5], [6]], [[9, 10, 1], [11, 12, 13, 14, 1]])


def trained(model):
    """An adapted model whose adapters do something."""
    adapt(model, LoRA(rank=2, alpha=6), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    return model


def test_new_adapters_change_nothing_and_depend_on_the_seed_alone(model, model_folder):
    before, _ = completion_logprobs(model, sequences())
    state = torch.random.get_rng_state()
    adapt(model, ADAPTERS, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert is_adapted(model)
    after, _ = completion_logprobs(model, sequences())
    assert torch.equal(after, before)
    again = load_model(model_folder, "float64")
    adapt(again, ADAPTERS, seed=3)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_adapters_stand_beside_every_linear_layer_but_the_head(model):
    adapt(model, ADAPTERS, seed=0)
    found = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(found) == 2 * 7 * model.config.num_hidden_layers
    assert all("lora_" in name for name in found) and not any("lm_head" in name for name in found)


def test_merged_weights_are_those_of_the_adapted_model(model, model_folder):
    found, _ = completion_logprobs(trained(model), sequences())
    plain = load_model(model_folder, "float64")
    before, _ = completion_logprobs(plain, sequences())
    assert (found - before).abs().max() > 0.1
    weights = dict(merged(model.state_dict(), 3.0))
    plain.load_state_dict(weights, strict=True)
    again, _ = completion_logprobs(plain, sequences())
    same(again, found)
    for name, weight in full_weights(model):
        same(weights[name], weight)
    with adapters_off(model):
        off, _ = completion_logprobs(model, sequences())
    assert torch.equal(off, before)
    on, _ = completion_logprobs(model, sequences())
    assert torch.equal(on, found) and on.requires_grad


def test_training_moves_the_adapters_alone_and_the_reference_is_what_it_was(model_folder, tmp_path):
    start = dict(load_model(model_folder, "float64").named_parameters())
    module, _, recorder = fit(
        model_folder, tmp_path, 3, kl_coef=0.1, lora=ADAPTERS, optimizer=adamw
    )
    moved = {
        name
        for name, weight in module.policy.named_parameters()
        if not torch.equal(weight, start.get(name.replace("base_layer.", ""), torch.tensor(0)))
    }
    assert moved == {name for name in dict(module.policy.named_parameters()) if "lora_" in name}
    batch = recorder.batches[-1]
    base, _ = completion_logprobs(load_model(model_folder, "float64"), batch.sequences)
    same(batch.ref_logp_NT, base)
    assert (batch.old_logp_NT - base).abs().max() > 1e-3
    assert recorder.metrics[-1]["kl"] > 0


def test_export_merges(model_folder, tmp_path):
    saver = RolloutCheckpoint(dirpath=str(tmp_path / "ckpt"))
    module, _, recorder = fit(
        model_folder,
        tmp_path,
        2,
        [saver, ExportPolicy(str(tmp_path / "callback"))],
        trainer={"enable_checkpointing": True},
        lora=ADAPTERS,
        optimizer=adamw,
    )
    export(str(tmp_path / "ckpt" / "last.ckpt"), str(tmp_path / "command"))
    expected, _ = completion_logprobs(module.policy, recorder.batches[0].sequences)
    for folder in ("callback", "command"):
        model = load_model(str(tmp_path / folder), "float64")
        assert not is_adapted(model)
        found, _ = completion_logprobs(model, recorder.batches[0].sequences)
        same(found, expected)


def test_a_checkpoint_goes_with_its_adapters(model_folder, tmp_path):
    fit(
        model_folder,
        tmp_path,
        1,
        [RolloutCheckpoint(dirpath=str(tmp_path))],
        trainer={"enable_checkpointing": True},
        lora=ADAPTERS,
    )
    for lora in (None, LoRA(rank=2)):
        trainer = make_trainer(tmp_path, 2)
        module = make_module(model_folder, lora=lora)
        with pytest.raises(ValueError, match=r"model.lora is \{'rank': 4.*, this run's is"):
            trainer.fit(module, make_data(), ckpt_path=str(tmp_path / "last.ckpt"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LoRA(rank=0), "model.lora.rank must be at least 1, got 0"),
        (lambda: LoRA(alpha=0), "model.lora.alpha must be above 0"),
        (lambda: LoRA(targets="all"), "must be 'all-linear' or a list"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_layers_that_are_not_there_and_an_offload_of_nothing(model, model_folder):
    with pytest.raises(ValueError, match=r"model.lora.targets = \['nothing'\]"):
        adapt(model, LoRA(targets=["nothing"]), seed=0)
    with pytest.raises(ValueError, match="reference_offload has nothing to move"):
        make_module(model_folder, lora=ADAPTERS, reference_offload=True)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_layers_that_cannot_be_adapted(model, target):
    with pytest.raises(ValueError, match=rf"{target} cannot be adapted"):
        adapt(model, LoRA(targets=["q_proj", target]), seed=0)


def test_half_precision_adapters_are_refused(model_folder):
    with pytest.raises(ValueError, match=r"needs model.dtype = float32, got bfloat16"):
        make_module(model_folder, lora=ADAPTERS, dtype="bfloat16")
