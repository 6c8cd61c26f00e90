"""``python -m fgexpo export``: a checkpoint becomes a Hugging Face folder."""

import json
from pathlib import Path

import torch
from jsonargparse import ArgumentParser
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ..archive import write_files, write_weights
from ..checkpoint import read_checkpoint
from ..errors import UserError

PREFIX = "policy."


def main(arguments: list[str]) -> None:
    """Parse ``--ckpt_path`` and ``--out``, then export."""
    parser = ArgumentParser(prog="fgexpo export", description="Write a Hugging Face folder.")
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint to read")
    parser.add_argument("--out", type=str, required=True, help="folder to write")
    config = parser.parse_args(arguments)
    export(config.ckpt_path, config.out)
    print(f"wrote {config.out}")


def export(ckpt_path: str, out: str) -> None:
    """Write the policy's weights (safetensors), configuration and tokenizer.

    Raises:
        UserError: for a missing or foreign checkpoint, or a folder that is not empty.
    """
    checkpoint = read_checkpoint(ckpt_path)
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--out: folder {out!r} is not empty")
    files: dict[str, str] = checkpoint["fgexpo"]["files"]
    settings = json.loads(files["config.json"])
    config = CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    weights = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(weights, strict=True, assign=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_files(files, folder)
    write_weights(model, folder)
