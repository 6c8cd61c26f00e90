"""What an evaluation's completions and grades depend on, and the name that follows from it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from ..robustness.same_run import fingerprint_model, fingerprint_template

WEIGHTS, DTYPE = "weights", "dtype"


def identity(trainer: Trainer, pl_module: Any, datasets: Sequence[Any]) -> dict[str, Any]:
    """Model, template, sampling, questions and so on, ready for JSON; all processes take part."""
    settings = pl_module.evaluation
    graded = {k: v for k, v in vars(pl_module.verifier).items() if not k.startswith("_")}
    facts = {
        WEIGHTS: fingerprint_model(pl_module.policy),
        "template": fingerprint_template(pl_module.prompts),
        "engine": type(pl_module.engine).__name__,
        "verifier": {"class": type(pl_module.verifier).__name__, **graded},
        "questions": {dataset.name: dataset.fingerprint for dataset in datasets},
        "rollouts": settings.rollouts,
        "sampling": asdict(settings.sampling),
        "seed": pl_module.seed,
        DTYPE: f"{pl_module.dtype_name}, {trainer.precision}",
    }
    # In the form that a file holds; a plug-in's own objects are reduced to their class.
    return json.loads(json.dumps(facts, default=lambda thing: type(thing).__name__))


def folder_name(trainer: Trainer, pl_module: Any, found: dict[str, Any]) -> str:
    """The model, the step of its checkpoint if it has one, and a hash of the identity."""
    digest = hashlib.blake2b(json.dumps(found, sort_keys=True).encode(), digest_size=4)
    model = Path(pl_module.name.rstrip("/")).name
    step = f"-step={pl_module.rollout_step}" if trainer.ckpt_path else ""
    return f"{model}{step}-{digest.hexdigest()}"
