"""FSDP2's corners: tied weights, bf16, whole weights, lengths that differ, evaluation, export."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from near import ROUNDING, same
from processes import free_port, run_ranks
from test_strategies import CASES, final, same_weights, train
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from fgexpo.callbacks import EvaluationReport, ExportPolicy
from fgexpo.errors import EnvironmentFailure
from fgexpo.model.loading import load_model, load_tokenizer
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.lora import LoRA
from fgexpo.model.sequences import join_solutions
from fgexpo.parallel.fsdp2 import FSDP2
from fgexpo.parallel.sharding import shards, whole
from fgexpo.parallel.whole_weights import full_weights
from fgexpo.robustness.checkpoint import read_checkpoint
from fgexpo.rollout import Native, Sampling, VLLMServer
from fgexpo.rollout.vllm.weight_stream import WeightStream
from fgexpo.update.mismatch import DIFFERENCE


@pytest.fixture(scope="session")
def tied_folder(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tied")
    config = load_model(model_folder).config
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    load_tokenizer(model_folder).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp2", "fsdp2-lora"])
def test_tied_embeddings(tied_folder, tmp_path, name):
    strategy, options = CASES[name]
    train(tied_folder, str(tmp_path / "one"), 1, "auto", options)
    two, log = str(tmp_path / "two"), tmp_path / "log"
    run_ranks(train, tied_folder, two, 2, strategy, options, log=log)
    same_weights(final(tmp_path / "one"), final(two))


def weights_and_export(folder, out):
    """In one sharded run: what rests, what is gathered, what is exported."""
    trainer = make_trainer(
        Path(out), 1, [ExportPolicy(out + "/model")], devices=2, strategy="fsdp2"
    )
    module = make_module(folder, max_grad_norm=None)
    trainer.fit(module, make_data())
    policy = module.policy
    assert all(isinstance(weight, DTensor) for weight in policy.parameters())
    held = sum(weight.to_local().numel() for weight in policy.parameters())
    total = sum(weight.numel() for weight in policy.parameters())
    assert 0.45 < held / total < 0.6, (held, total)
    gathered = dict(full_weights(policy))
    # As a server gets them: told beforehand, whole, rounded once.
    stream = WeightStream(policy, "bfloat16")
    told, sent = stream.metadata(), dict(stream)
    assert [meta.name for meta in told] == list(sent) == list(gathered)
    for name, dtype, shape in told:
        assert (sent[name].dtype, tuple(sent[name].shape)) == (dtype, shape)
        assert torch.equal(sent[name], gathered[name].bfloat16())
    given = join_solutions([[3, 4, 5], [6]], [[9, 10, 1], [11, 12, 13, 14, 1]])
    with torch.no_grad():
        logp, _ = completion_logprobs(policy, given)
        with whole(policy):
            # Processes may now differ in how often they call the model, and talk to nobody.
            for _ in range(3 * module.global_rank):
                policy(input_ids=given.tokens_NL)
            assert not any(isinstance(weight, DTensor) for weight in policy.parameters())
    assert all(isinstance(weight, DTensor) for weight in policy.parameters())
    torch.save((gathered, logp), f"{out}/{module.global_rank}")


def test_weights_are_sharded_gathered_and_exported(model_folder, tmp_path):
    run_ranks(weights_and_export, model_folder, str(tmp_path), log=tmp_path / "log")
    (gathered, logp), (other, _) = (torch.load(tmp_path / str(rank)) for rank in range(2))
    model = load_model(str(tmp_path / "model"), "float64")
    for name, weight in model.state_dict().items():
        assert torch.equal(gathered[name], weight) and torch.equal(other[name], weight), name
    given = join_solutions([[3, 4, 5], [6]], [[9, 10, 1], [11, 12, 13, 14, 1]])
    found, _ = completion_logprobs(model, given)
    same(found, logp)


class Uneven(Native):
    """The second process decodes one token a rollout, the first up to eight, and slowly."""

    def generate(self, policy, request):
        rank = torch.distributed.get_rank()
        request.sampling = Sampling(max_new_tokens=1 if rank else 8)
        time.sleep(0 if rank else 0.5)
        return super().generate(policy, request)


def unevenly(folder, out):
    trainer = make_trainer(Path(out), 2, devices=2, strategy="fsdp2", limit_val_batches=1.0)
    module = make_module(folder, engine=Uneven(), verifier=EvenIsRight(), kl_coef=0.1)
    trainer.fit(module, make_data())
    trainer.validate(module, make_data(), verbose=False)
    print("finished", module.rollout_step)


def test_processes_that_decode_different_lengths(model_folder, tmp_path):
    logs = run_ranks(unevenly, model_folder, str(tmp_path), log=tmp_path / "log")
    assert all("finished 2" in log for log in logs)


@pytest.mark.slow
def test_half_precision_keeps_full_weights(model_folder, tmp_path):
    train(model_folder, str(tmp_path / "full"), 1, "auto", {})
    run_ranks(in_bf16, model_folder, str(tmp_path / "half"), log=tmp_path / "log")
    half = final(tmp_path / "half")
    for name, weight in half["state_dict"].items():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, weight.bfloat16().float()), name
    state = half["optimizer_states"][0]["state"].values()
    assert all(values["exp_avg"].dtype == torch.float32 for values in state)
    (one, _), (two, _) = torch.load(tmp_path / "full/end-0"), torch.load(tmp_path / "half/end-0")
    assert one.keys() == two.keys()
    # Generation and training round alike; these weights are opinionated, so bf16 is coarse.
    assert 0 < two[DIFFERENCE] < 0.1 and one[DIFFERENCE] < ROUNDING


def in_bf16(folder, out):
    train(folder, out, 2, "fsdp2", {"dtype": "float32"}, precision="bf16-mixed")


def evaluate(folder, out, devices, strategy):
    trainer = make_trainer(
        Path(out), 1, [EvaluationReport(out)], devices=devices, strategy=strategy
    )
    module = make_module(folder, verifier=EvenIsRight())
    trainer.test(module, make_data(), verbose=False)


def test_evaluation_is_the_same_sharded(model_folder, tmp_path):
    out, log = str(tmp_path / "two"), tmp_path / "log"
    run_ranks(evaluate, model_folder, out, 2, "fsdp2", log=log)
    evaluate(model_folder, str(tmp_path / "one"), 1, "auto")
    one, two = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("one", "two"))
    assert one["identity"] == two["identity"]
    assert one["benchmarks"] == two["benchmarks"]


def test_a_weight_that_is_not_finite_on_one_process_stops_both(model_folder, tmp_path):
    logs = run_ranks(spoil, model_folder, str(tmp_path), log=tmp_path / "log")
    said = [log.splitlines()[-1] for log in logs]
    assert any("policy weight lm_head.weight is not finite" in line for line in said)
    assert any("on another process is not finite" in line for line in said)
    with pytest.raises(ValueError, match="does not exist"):
        read_checkpoint(tmp_path / "x.ckpt")


def spoil(folder, out):
    trainer = make_trainer(Path(out), 1, devices=2, strategy="fsdp2")
    module = make_module(folder)
    trainer.fit(module, make_data())
    with torch.no_grad():
        if module.global_rank == 1:
            module.policy.lm_head.weight.to_local()[-1, -1] = float("nan")
    with pytest.raises(RuntimeError, match="so nothing is saved") as caught:
        trainer.save_checkpoint(f"{out}/x.ckpt")
    print(caught.value)


def test_models_are_opened_in_the_hosts_memory(model_folder, tmp_path):
    module = make_module(model_folder, reference_offload=True, kl_coef=0.1)
    module.trainer = make_trainer(tmp_path, 1)
    module.trainer.state.fn = "fit"
    # Lightning's context for a run on one GPU, which no test has.
    with torch.device("meta"):
        module.configure_model()
    for model in (module.policy, module.reference.model):
        assert {weight.device.type for weight in model.parameters()} == {"cpu"}


def test_servers_are_asked_before_any_weight_is_loaded(model_folder, tmp_path):
    absent = f"http://127.0.0.1:{free_port()}"
    module = make_module(model_folder, engine=VLLMServer(absent), lora=LoRA())
    with pytest.raises(EnvironmentFailure, match=f"{absent}/version cannot be reached"):
        make_trainer(tmp_path, 1).fit(module, make_data())
    assert module.policy is None


@pytest.mark.parametrize("strategy", [FSDP2(), None])
def test_shards_are_the_strategys(strategy):
    assert shards(SimpleNamespace(strategy=strategy)) == (strategy is not None)
