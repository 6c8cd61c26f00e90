"""``python -m fgexpo export``: a checkpoint becomes a Hugging Face folder."""

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import locked, whole_folder
from ..model.hf_folder import write_model
from ..model.lora import LoRA, merged
from ..outside.parser import Parser
from ..robustness.checkpoint import read_checkpoint

PREFIX = "policy."


def main(arguments: list[str]) -> None:
    """Parse ``--ckpt_path`` and ``--out``, then export."""
    parser = Parser(prog="fgexpo export", description="Write a Hugging Face folder.")
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint to read")
    parser.add_argument("--out", type=str, required=True, help="folder to write")
    config = parser.parse_args(arguments)
    export(config.ckpt_path, config.out)
    print(f"wrote {config.out}")


def export(ckpt_path: str, out: str) -> None:
    """Write the policy's weights (safetensors, adapters merged), configuration and tokenizer.

    The folder appears when all of it is on disk; what a killed export has left is removed.

    Raises:
        UserError: for a checkpoint that is missing, damaged or not fgexpo's, or a folder that is
            not empty.
        EnvironmentFailure: when another process writes the folder at this moment.
    """
    checkpoint = read_checkpoint(ckpt_path)
    folder = Path(out)
    with locked(folder, f"--out: the folder {out!r}"):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"--out: folder {out!r} is not empty")
        with whole_folder(folder) as partial:
            _write(checkpoint, partial)


def _write(checkpoint: dict[str, Any], folder: Path) -> None:
    weights = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    lora = checkpoint["fgexpo"].get("lora")
    if lora is not None:
        weights = dict(merged(weights, LoRA(**lora).scale))
    write_model(checkpoint["fgexpo"]["files"], weights, folder)
