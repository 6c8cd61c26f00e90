"""``python -m fgexpo export``: a checkpoint becomes a Hugging Face folder, with a model card."""

from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import locked, whole_folder
from ..hub.base import find_base
from ..hub.card import Origin, write_card
from ..hub.proof import Exported
from ..hub.push import Target, open_target, push
from ..hub.run_config import difference, find_config, read_config, setting
from ..hub.scores import found_results, given_results
from ..hub.usage import read_encoder
from ..model.hf_folder import assemble, save_model
from ..model.lora import LoRA, merged
from ..outside.parser import Parser
from ..robustness.checkpoint import read_checkpoint

PREFIX = "policy."


def main(arguments: list[str]) -> None:
    """Parse, export, and push if that is asked for."""
    parser = Parser(
        prog="fgexpo export", description="Write a Hugging Face folder with a model card."
    )
    parser.add_argument("--ckpt_path", type=str, required=True, help="checkpoint to read")
    parser.add_argument("--out", type=str, required=True, help="folder to write")
    parser.add_argument(
        "--results",
        type=str | None,
        default=None,
        help="results.json of these weights, or its folder; default: look into evaluations/",
    )
    parser.add_argument(
        "--push_to", type=str | None, default=None, help="repository of the hub to push to"
    )
    parser.add_argument(
        "--private", type=bool, default=False, help="whether a new repository is private"
    )
    config = parser.parse_args(arguments)
    if config.private and config.push_to is None:
        raise UserError("--private is for a repository; name one with --push_to")
    target = None if config.push_to is None else open_target(config.push_to, config.private)
    for line in export(config.ckpt_path, config.out, config.results, target):
        print(line)
    if target is not None:
        print(push(target, Path(config.out)))


def export(
    ckpt_path: str, out: str, results: str | None = None, target: Target | None = None
) -> list[str]:
    """Write weights (safetensors, adapters merged), configuration, tokenizer and model card.

    The folder appears when all of it is on disk; what a killed export has left is removed.

    Args:
        ckpt_path: checkpoint to read.
        out: folder to write.
        results: a ``results.json`` of these weights; null to look for one in ``evaluations``.
        target: where the folder is going to be pushed, for the card.

    Returns:
        Lines that say what was written, and what the card lacks.

    Raises:
        UserError: for a checkpoint that is missing, damaged or not fgexpo's, a folder that is not
            empty, or results of other weights.
        EnvironmentFailure: when another process writes the folder at this moment.
    """
    checkpoint = read_checkpoint(ckpt_path)
    folder = Path(out)
    with locked(folder, f"--out: the folder {out!r}"):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"--out: folder {out!r} is not empty")
        exported = _exported(checkpoint)
        path, notes = (results, []) if results else found_results(exported)
        scores = None if path is None else given_results(path, exported)
        saved = checkpoint["fgexpo"]
        with whole_folder(folder) as partial:
            save_model(exported.model, saved["files"], partial)
            name = Path(folder.resolve().name if target is None else target.repo).name
            loaded_by = name if target is None else target.repo
            origin, more = _origin(ckpt_path, saved, partial, name, loaded_by, scores)
            write_card(origin, partial)
    notes = [f"note: {note}" for note in (*notes, *more)]
    return [*notes, f"wrote {out}, with a model card", _told(path, ckpt_path)]


def _exported(checkpoint: dict[str, Any]) -> Exported:
    trained = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    lora = checkpoint["fgexpo"].get("lora")
    whole = trained if lora is None else dict(merged(trained, LoRA(**lora).scale))
    return Exported(assemble(checkpoint["fgexpo"]["files"], whole), trained)


def _origin(
    ckpt_path: str, saved: dict[str, Any], folder: Path, name: str, loaded_by: str, results: Any
) -> tuple[Origin, list[str]]:
    """What the card is made of, and what is missing for it."""
    known: dict[str, Any] = {"name": name, "loaded_by": loaded_by, "saved": saved}
    path, facts = find_config(ckpt_path), saved.get("facts") or {}
    if path is None:
        return Origin(**known, results=results), [
            f"no config.yaml lies beside {ckpt_path!r}, so the card names only what it holds itself"
        ]
    config = read_config(path)
    other = difference(config, facts)
    if other is not None:
        return Origin(**known, results=results), [f"{path} is of another run ({other}), not used"]
    base = find_base(
        str(setting(config, "model.name")),
        from_scratch=setting(config, "model.from_scratch") is not None,
        made_here=config.get("prepare") is not None,
    )
    notes: list[str] = []
    encoder = None
    try:
        encoder = read_encoder(config, facts, folder)
    except UserError as error:
        notes.append(f"the card has no example of a prompt: {error}")
    return Origin(**known, base=base, config=config, encoder=encoder, results=results), notes


def _told(results: str | None, ckpt_path: str) -> str:
    if results is not None:
        return f"scores: {results}"
    config = find_config(ckpt_path)
    shown = "CONFIG" if config is None else str(config)
    return (
        "scores: none was measured; "
        f"`fgexpo test --config {shown} --ckpt_path {ckpt_path}` measures some; then export "
        "into another --out"
    )
