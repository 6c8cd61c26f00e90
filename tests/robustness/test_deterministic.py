"""The determinism switch: flags on during a fit and back afterwards, and the same numbers."""

import os

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from near import same

from fgexpo.robustness.deterministic import WORKSPACE
from fgexpo.rollout import Native, RolloutEngine, VLLMServer
from fgexpo.running_sum import doubled_sums, running_sum


def flags():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        os.environ.get(WORKSPACE),
    )


class Look(Callback):
    def __init__(self, fails=False):
        self.seen, self.fails = None, fails

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen = flags()
        if self.fails:
            raise RuntimeError("enough")


@pytest.fixture
def usual(monkeypatch):
    """Flags that are not PyTorch's defaults, put back afterwards."""
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = flags()
    torch.backends.cudnn.benchmark = True
    yield flags()
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2:4]


def fit(folder, tmp_path, look, **options):
    torch.manual_seed(0)
    module = make_module(folder, verifier=EvenIsRight(), kl_coef=0.1, **options)
    make_trainer(tmp_path, 2, [look]).fit(module, make_data())
    return module.policy.state_dict()


def test_flags_are_on_during_a_fit_and_the_run_is_the_same_on_a_cpu(model_folder, tmp_path, usual):
    look, plain = Look(), Look()
    expected = fit(model_folder, tmp_path, plain)
    found = fit(model_folder, tmp_path, look, deterministic=True)
    assert plain.seen == usual == flags()
    assert look.seen == (True, False, True, False, ":4096:8")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_flags_come_back_after_a_fit_that_fails(model_folder, tmp_path, usual):
    look = Look(fails=True)
    with pytest.raises(RuntimeError, match="enough"):
        fit(model_folder, tmp_path, look, deterministic=True)
    assert look.seen[0] and flags() == usual


class Unknown(RolloutEngine):
    def generate(self, policy, request):
        raise NotImplementedError


@pytest.mark.parametrize("engine", [Unknown(), VLLMServer("http://127.0.0.1:1")])
def test_an_engine_that_may_not_repeat_is_refused(model_folder, tmp_path, engine, usual):
    with pytest.raises(ValueError, match=f"{type(engine).__name__} draws the same rollouts"):
        fit(model_folder, tmp_path, Look(), deterministic=True, engine=engine)
    assert flags() == usual
    Native().check_repeats()


def test_a_workspace_of_another_size_is_refused(model_folder, tmp_path, usual, monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":0:0")
    with pytest.raises(ValueError, match=f"{WORKSPACE} to be :4096:8 or :16:8, .* got ':0:0'"):
        fit(model_folder, tmp_path, Look(), deterministic=True)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 1000])
def test_sums_in_a_fixed_order_are_running_sums(length):
    values = torch.rand(3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values[:, length // 2 :: 3] = 0
    found = doubled_sums(values)
    same(found, values.cumsum(-1))
    assert torch.equal(running_sum(values), values.cumsum(-1))
    # In float32 they never fall, and stand still where nothing is added.
    steps = doubled_sums(values.float()).diff(dim=-1)
    assert (steps >= 0).all() and (steps[values[:, 1:] == 0] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_runs_on_a_gpu_are_equal(model_folder, tmp_path):
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        module = make_module(
            model_folder, dtype="float32", verifier=EvenIsRight(), kl_coef=0.1, deterministic=True
        )
        options = {"accelerator": "gpu", "devices": 1, "precision": "bf16-mixed"}
        make_trainer(tmp_path, 10, **options).fit(module, make_data())
        found.append(module.policy.state_dict())
    assert all(torch.equal(found[0][name], weight) for name, weight in found[1].items())
