"""A few lines that many tests need: a tiny trainer, module and data."""

import os

import full_precision  # noqa: F401
import torch
from lightning.pytorch import Callback, Trainer

from fgexpo.callbacks import StopAfter
from fgexpo.datamodules import CurriculumDataModule
from fgexpo.evaluation import EvaluationSettings
from fgexpo.model.loading import load_model
from fgexpo.module import GRPOModule
from fgexpo.rewards import Verdict, Verifier
from fgexpo.rewards.reward import Reward
from fgexpo.robustness.checkpoint import AtomicCheckpointIO
from fgexpo.robustness.order import ORDER
from fgexpo.rollout import Native, Sampling
from fgexpo.tasks import TinyArithmetic


class Parity(Reward):
    """Rewards completions of even length: random models earn it half of the time."""

    def score(self, rollouts):
        return [float(rollout.length % 2 == 0) for rollout in rollouts]


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


def make_module(folder, **options):
    defaults = {
        "group_size": 4,
        "mini_batch_questions": 2,
        "rewards": [Parity()],
        "optimizer": sgd,
        "sampling": Sampling(max_new_tokens=8),
        "evaluation": EvaluationSettings(2, [1, 2], Sampling(max_new_tokens=8)),
        "max_prompt_tokens": 32,
        "dtype": "float64",  # so that what is to be equal is, on any processor
    }
    return GRPOModule(folder, **{**defaults, **options})


def make_data(**options):
    defaults = {
        "train": TinyArithmetic("pool", 1),
        "val": {"tiny": TinyArithmetic("held_out", 1, levels=[1])},
        "questions_per_step": 4,
    }
    return CurriculumDataModule(**{**defaults, **options})


def make_trainer(tmp_path, steps, callbacks=(), **options):
    defaults = {
        "accelerator": "cpu",
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "use_distributed_sampler": False,
    }
    return Trainer(
        default_root_dir=tmp_path,
        callbacks=[*callbacks, StopAfter(steps)],
        **{**defaults, **options},
    )


def write_checkpoint(folder, step, age, spoil=None, number=None):
    """A small checkpoint that is ``age`` seconds old, and whole unless spoilt.

    With a number it is the ``number``-th save of its run; older versions gave none.
    """
    path = folder / f"step={step:06d}.ckpt"
    order = {} if number is None else {ORDER: {"number": number, "step": step}}
    AtomicCheckpointIO().save_checkpoint({"fgexpo": {}, "x": torch.arange(1000), **order}, path)
    content = bytearray(path.read_bytes())
    if spoil == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif spoil == "byte":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif spoil == "empty":
        path.write_bytes(b"")
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.policy.parameters()])


def weights_of(folder):
    return torch.cat([p.detach().flatten() for p in load_model(folder, "float64").parameters()])


class Recorder(Callback):
    """Keeps every batch, beta and metric as training saw them."""

    def __init__(self):
        self.batches, self.betas, self.metrics, self.ratios = [], [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append(batch)
        self.betas.append(pl_module.beta)
        self.metrics.append({k: float(v) for k, v in trainer.callback_metrics.items()})


class Clock(Callback):
    """Stands in for the module ``time``: it goes on by so much a step, and not otherwise."""

    def __init__(self, seconds_a_step):
        self.now, self.seconds_a_step = 1000.0, seconds_a_step

    def monotonic(self):
        return self.now

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.now += self.seconds_a_step


class EvenIsRight(Verifier):
    """Calls completions of an even number of characters right: a random model earns some."""

    def verify(self, questions, texts):
        return [Verdict(len(text) % 2 == 0, text) for text in texts]


class Uneven(Native):
    """Claims log-probs that are off by nothing, 0.5 or 1, by the token's id."""

    def generate(self, policy, request):
        found = super().generate(policy, request)
        found.logp_NT -= 0.5 * (found.tokens_NT % 3).double() * found.mask_NT
        return found

    def logp_limit(self):
        return None


def fit(folder, tmp_path, steps=2, callbacks=(), data=None, trainer=None, **options):
    recorder = Recorder()
    module = make_module(folder, **options)
    data = data or make_data()
    trainer = make_trainer(tmp_path, steps, [*callbacks, recorder], **(trainer or {}))
    trainer.fit(module, data)
    return module, data, recorder
