"""``python -m fgexpo export``: a checkpoint becomes a Hugging Face folder, with a model card."""

from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UserError
from ..files import locked, whole_folder
from ..hub.base import base_folder, find_base
from ..hub.card import Origin, write_card
from ..hub.proof import Exported, is_other_base
from ..hub.push import Target, open_target, push
from ..hub.run_config import difference, find_config, read_config, setting
from ..hub.scores import found_results, given_results
from ..hub.usage import read_encoder
from ..model.hf_folder import assemble, save_model
from ..model.lora import LoRA, merged
from ..outside.parser import Parser
from ..parallel.slices import made_whole
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
    checkpoint = read_checkpoint(ckpt_path, whole=False)
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
            known = {"name": name, "loaded_by": loaded_by, "saved": saved, "results": scores}
            origin, more = _origin(known, ckpt_path, partial, exported.model)
            write_card(origin, partial)
    notes = [f"note: {note}" for note in (*notes, *more)]
    return [*notes, f"wrote {out}, with a model card", _told(path, ckpt_path, bool(origin.config))]


def _exported(checkpoint: dict[str, Any]) -> Exported:
    trained = {
        name.removeprefix(PREFIX): made_whole(tensor)
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(PREFIX)
    }
    lora = checkpoint["fgexpo"].get("lora")
    whole = trained if lora is None else dict(merged(trained, LoRA(**lora).scale))
    return Exported(assemble(checkpoint["fgexpo"]["files"], whole), trained)


def _origin(
    known: dict[str, Any], ckpt_path: str, folder: Path, model: nn.Module
) -> tuple[Origin, list[str]]:
    """What the card is made of, and what is missing for it."""
    saved = known["saved"]
    config, note = _config(ckpt_path, saved, model)
    if note is not None:
        return Origin(**known), [note]
    base = find_base(
        str(setting(config, "model.name")),
        from_scratch=setting(config, "model.from_scratch") is not None,
        made_here=config.get("prepare") is not None,
    )
    notes = [] if base.note is None else [base.note]
    encoder = None
    try:
        encoder = read_encoder(config, saved.get("facts") or {}, folder)
    except UserError as error:
        notes.append(f"the card has no example of a prompt: {error}")
    return Origin(**known, base=base, config=config, encoder=encoder), notes


def _config(
    ckpt_path: str, saved: dict[str, Any], model: nn.Module
) -> tuple[dict[str, Any], str | None]:
    """The configuration of the run, or why it is not known: an export can do without it."""
    path = find_config(ckpt_path)
    if path is None:
        what = f"no config.yaml lies beside {ckpt_path!r}"
        return {}, f"{what}, so the card names only what it holds itself"
    try:
        config = read_config(path)
    except UserError as error:
        return {}, f"{error}, so the card names only what {ckpt_path!r} holds itself"
    other = difference(config, saved)
    name, began = str(setting(config, "model.name")), (saved.get("facts") or {}).get("model")
    base = base_folder(name)
    if other is None and base is not None and began is not None:
        dtype = str(setting(config, "model.dtype") or "float32")
        if is_other_base(base, dtype, str(began), model):
            other = f"the weights in {name!r} are not those that the run began with"
    if other is not None:
        return {}, f"{path} is of another run ({other}), not used"
    return config, None


def _told(results: str | None, ckpt_path: str, of_this_run: bool) -> str:
    if results is not None:
        return f"scores: {results}"
    config = find_config(ckpt_path) if of_this_run else None
    shown = "CONFIG" if config is None else str(config)
    return (
        "scores: none was measured; "
        f"`fgexpo test --config {shown} --ckpt_path {ckpt_path}` measures some; then export "
        "into another --out"
    )
