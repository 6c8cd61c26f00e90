"""A tiny and a full-size job, for the tests of what a plan says of them."""

import torch
from transformers import Qwen2Config

from fgexpo.plan.job import Engine, Job, Optimizer
from fgexpo.plan.known_models import r1_distill_1p5b

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
