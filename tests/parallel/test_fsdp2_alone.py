"""FSDP2 on one process: the run of a plain one, with weights that are cast once."""

from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from processes import run_ranks
from test_strategies import final, go_on, train
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from fgexpo.model import lm_head
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join_solutions
from fgexpo.parallel.sharding import whole

ONE = {"world_size": 1}


def both(folder, out):
    """A whole run, and the rest of the one that a plain trainer has begun."""
    train(folder, f"{out}/alone", 1, "fsdp2", {})
    go_on(folder, f"{out}/second", 1, "fsdp2", {}, f"{out}/plain")


def equal(one, two):
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, weight in one["state_dict"].items():
        assert torch.equal(two["state_dict"][name], weight), name
    for number, values in one["optimizer_states"][0]["state"].items():
        found = two["optimizer_states"][0]["state"][number]
        assert all(torch.equal(found[name], value) for name, value in values.items())


@pytest.mark.slow  # four runs
def test_it_makes_the_plain_run_bit_for_bit_and_each_resumes_the_other(model_folder, tmp_path):
    train(model_folder, str(tmp_path / "plain"), 1, "auto", {})
    run_ranks(both, model_folder, str(tmp_path), log=tmp_path / "log", **ONE)
    plain = final(tmp_path / "plain")
    equal(plain, final(tmp_path / "alone"))
    equal(plain, final(tmp_path / "second"))
    metrics, sharded = torch.load(tmp_path / "alone/end-0")
    assert sharded and metrics["kl"] > 0
    go_on(model_folder, str(tmp_path / "back"), 1, "auto", {}, str(tmp_path / "alone"))
    equal(plain, final(tmp_path / "back"))


def casts(folder, out):
    """How often weights are cast, and what is left of them."""
    trainer = make_trainer(Path(out), 1, devices=1, strategy="fsdp2", precision="bf16-mixed")
    module = make_module(folder, dtype="float32", kl_coef=0.1, verifier=EvenIsRight())
    trainer.fit(module, make_data())
    policy, reference = module.policy, module.reference.model
    given = join_solutions([[3, 4, 5], [6]], [[9, 10, 1], [11, 12, 13, 14, 1]])
    groups = [
        part._get_fsdp_state()._fsdp_param_groups[0]
        for part in policy.modules()
        if isinstance(part, FSDPModule)
    ]
    kind, cast, dtypes = type(groups[0]), [], set()
    unshard, head = kind.unshard, lm_head._Head.forward

    def counted(group, async_op=False):
        cast.append(not group.is_unsharded)
        return unshard(group, async_op=async_op)

    def looked_at(ctx, hidden_MH, weight_VH, *rest):
        dtypes.add(weight_VH.dtype)
        return head(ctx, hidden_MH, weight_VH, *rest)

    kind.unshard, lm_head._Head.forward = counted, staticmethod(looked_at)
    with trainer.precision_plugin.forward_context():
        logp, _ = completion_logprobs(policy, given)
        assert not at_rest(policy)
        logp.sum().backward()
    assert at_rest(policy) and sum(cast) == len(groups) and dtypes == {torch.bfloat16}
    assert all(weight.grad.dtype == torch.float32 for weight in policy.parameters())
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        again, _ = completion_logprobs(policy, given)
        assert torch.equal(again, logp)
        # Only the pass itself can free them: no backward pass follows.
        assert at_rest(policy)
        completion_logprobs(reference, given)
        assert at_rest(reference)
        with whole(policy):
            assert not at_rest(policy)
    assert at_rest(policy) and not any(group._reshard_after_forward for group in groups)
    print("cast once")


def at_rest(model):
    return all(isinstance(weight, DTensor) for weight in model.parameters())


def test_bf16_weights_are_cast_once_for_a_forward_and_backward_pass(model_folder, tmp_path):
    (log,) = run_ranks(casts, model_folder, str(tmp_path), log=tmp_path / "log", **ONE)
    assert "cast once" in log
