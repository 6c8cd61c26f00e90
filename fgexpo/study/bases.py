"""The models that a study starts from: those that exist, and those that it makes.

A model that exists is never written to. Each is known by its content, so that a study that is
resumed with another model under the same name is refused.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from transformers.utils.hub import cached_file

from ..errors import UserError
from ..files import write_json
from ..model.loading import load_tokenizer, resolve_name
from ..outside import reading
from .command_lines import base_name, fingerprint, flags
from .spec import Study
from .task import Task

NOTE = "bases.json"
# Files that make a model what it is; a card or an evaluation beside them does not.
_SMALL = {".json", ".jinja", ".model", ".txt"}
_WEIGHTS = {".safetensors", ".bin"}
_SLICES, _SLICE = 64, 4096


def base_tasks(
    study: Study, named: str | None = None, recipe: str | None = None
) -> dict[str, Task]:
    """The commands that make the bases which are not there yet, by the model's name.

    Args:
        study: the study.
        named: the model that its configs name, if that is where runs start from.
        recipe: the config that makes it (``prepare``).
    """
    facts = fingerprint(study)
    tasks = {}
    if study.bases.config is not None:
        for seed in study.bases.seeds:
            folder, arguments = _making(study, seed), base_arguments(study, seed)
            tasks[str(base_name(study, seed))] = Task(f"base={seed}", folder, arguments, facts)
    elif named is not None and recipe is not None:
        arguments = prepare_arguments(study, named, recipe)
        tasks[named] = Task("base", _making(study, 0), arguments)
    # One that is there is not made again, unless it was made in another way, which is refused.
    return {
        name: task
        for name, task in tasks.items()
        if not (task.finished or Path(name).expanduser().is_dir())
    }


def base_arguments(study: Study, seed: int) -> list[str]:
    """The command line that makes a base."""
    return [
        "fit",
        f"--config={study.bases.config}",
        *flags(study.bases.settings),
        f"--seed_everything={seed}",
        f"--export.out={base_name(study, seed)}",
        f"--trainer.logger.save_dir={study.path / 'logs'}",
        f"--trainer.logger.name=base={seed}",
    ]


def prepare_arguments(study: Study, named: str, recipe: str) -> list[str]:
    """The command line that makes the model which the configs name."""
    return [
        "fit",
        f"--config={recipe}",
        f"--export.out={named}",
        f"--trainer.logger.save_dir={study.path / 'logs'}",
        "--trainer.logger.name=base",
    ]


def _making(study: Study, seed: int) -> Path:
    """The folder of the log of making a base."""
    return study.path / "bases" / f"making={seed}"


def identify(name: str) -> str:
    """A hash of the model's content, short enough for a table; of a hub id, its revision.

    Reads small files whole, and of the weights some thousand places, so that it takes seconds.

    Raises:
        UserError: when there is no model under that name.
    """
    name = resolve_name(name)
    load_tokenizer(name)  # and the configuration; it names what is wrong with them
    folder = Path(name)
    if not folder.is_dir():
        with reading(name, "a model of the Hugging Face Hub", "model.name"):
            # In the hub's cache, the folder of a revision has its name.
            return Path(str(cached_file(name, "config.json"))).parent.name[:12]
    weights = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS)
    if not weights:
        raise UserError(f"model.name: folder {name!r} has no weights (*.safetensors)")
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(path for path in folder.iterdir() if path.suffix in _SMALL):
        with reading(path, "a file of a model", "model.name"):
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    for path in weights:
        with reading(path, "weights", "model.name"), path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}".encode())
            for number in range(_SLICES):
                file.seek(number * max(0, size - _SLICE) // (_SLICES - 1))
                digest.update(file.read(_SLICE))
    return digest.hexdigest()


def note_bases(study: Study, names: Iterable[str]) -> dict[str, str]:
    """The content of each of these models, noted in the study's folder.

    Args:
        study: the study.
        names: folders or hub ids. One that the study made, and somebody removed since, has the
            content that was noted.

    Raises:
        UserError: when there is no such model, or runs have begun from other content.
    """
    note = study.path / NOTE
    before: dict[str, str] = {}
    if note.is_file():
        with reading(note, "the note of a study's bases", "study"):
            before = dict(json.loads(note.read_text()))
    begun = any(study.path.glob("runs/*/version_*"))
    found = {}
    for name in names:
        made = study.bases.config is not None
        gone = made and not Path(name).exists()
        found[name] = before.get(name, "removed") if gone else identify(name)
        if begun and before.get(name, found[name]) != found[name]:
            raise UserError(
                f"study: {study.folder} began with another model in {name!r} (content "
                f"{before[name]}, now {found[name]}); put that one back, or choose another folder"
            )
    write_json(note, {**before, **found})
    return found
