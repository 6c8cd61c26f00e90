"""The model that a run started from: its id on the hub, and its license if that is known."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..errors import UserError
from ..outside import reading

_LICENSE = ("license", "license_name", "license_link")


@dataclass(frozen=True)
class Base:
    """What is known of it.

    Attributes:
        shown: how it is called in a text.
        hub_id: its id on the hub, or that of the model that a local folder was made from.
        license: entries of a card, as the base's own card has them.
        note: why the base's own card is not known; None if it was read, or if there is none.
    """

    shown: str
    hub_id: str | None = None
    license: dict[str, str] = field(default_factory=dict)
    note: str | None = None


def find_base(name: str, from_scratch: bool = False, made_here: bool = False) -> Base:
    """Look at a base's card in its folder or in the hub's cache; the network is not asked.

    Args:
        name: ``model.name``.
        from_scratch: whether the run started from random weights instead.
        made_here: whether a recipe of this project makes the folder.
    """
    if from_scratch:
        return Base("random weights")
    folder = Path(name)
    if folder.is_dir():
        entries, note = _entries(folder / "README.md")
        origin = entries.get("base_model")
        known = isinstance(origin, str) and _is_id(origin)
        return Base(folder.resolve().name, origin if known else None, _license(entries), note)
    if made_here or folder.is_absolute() or not _is_id(name):
        return Base(folder.name)
    card = try_to_load_from_cache(name, "README.md")
    entries, note = _entries(Path(card)) if isinstance(card, str) else ({}, None)
    return Base(name, name, _license(entries), note)


def base_folder(name: str) -> Path | None:
    """Where a base lies: its folder, or its snapshot in the hub's cache; None if not here."""
    if Path(name).is_dir():
        return Path(name)
    cached = try_to_load_from_cache(name, "config.json") if _is_id(name) else None
    return Path(cached).parent if isinstance(cached, str) else None


def _is_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _entries(card: Path) -> tuple[dict[str, Any], str | None]:
    """What a card says of its model, and why it cannot be read: a card is no reason to stop."""
    if not card.is_file():
        return {}, None
    try:
        with reading(card, "the model card of the base", "model.name"):
            return ModelCard.load(card, ignore_metadata_errors=True).data.to_dict(), None
    except UserError as error:
        return {}, f"{error}, so the license of the base is not known"


def _license(entries: dict[str, Any]) -> dict[str, str]:
    return {name: entries[name] for name in _LICENSE if isinstance(entries.get(name), str)}
