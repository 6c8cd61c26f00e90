"""Open a Hugging Face folder or hub id, with errors that name the setting."""

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import GENERATION_CONFIG_NAME
from transformers.utils.hub import cached_file

from ..errors import UserError
from ..outside import reading

_LOCAL = re.compile(r"(\.|/|~|checkpoints/|runs/)")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def resolve_name(name: str) -> str:
    """Return a folder that exists, or a name that may be a hub id.

    Raises:
        UserError: when it is neither.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model.name: folder {name!r} has no config.json")
        return str(folder)
    if _LOCAL.match(name) or not _HUB_ID.fullmatch(name):
        raise UserError(f"model.name: folder {name!r} does not exist")
    return name


def load_tokenizer(name: str) -> Any:
    """Open the tokenizer.

    Raises:
        UserError: when there is none under that name.
    """
    return _open(AutoTokenizer, resolve_name(name))


def load_config(name: str) -> Any:
    """Open the model's configuration, and set its dropout to 0.

    Old and new log-probs must differ only by the update, and trainer and engine only by
    rounding.

    Raises:
        UserError: when there is none under that name.
    """
    config = _open(AutoConfig, resolve_name(name))
    for key, value in vars(config).items():
        if isinstance(value, float) and ("dropout" in key or key.endswith("_pdrop")):
            setattr(config, key, 0.0)
    return config


def load_end_ids(name: str) -> list[int]:
    """Ids at which the model's ``generation_config.json`` ends a completion; none without the file.

    Chat models list ends of a turn there that are not the tokenizer's eos.

    Raises:
        UserError: when the file cannot be read, or holds something else than ids.
    """
    try:
        path = str(cached_file(resolve_name(name), GENERATION_CONFIG_NAME))
    except OSError:
        return []  # there is none; whether the model can be opened is asked elsewhere
    with reading(path, "a JSON object", "model.name"):
        found = dict(json.loads(Path(path).read_text(encoding="utf-8"))).get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise UserError(
            f"model.name: {path!r} has eos_token_id = {found!r}, expected a token's id or a list"
        )
    config = load_config(name).get_text_config()
    # Others cannot be drawn, and engines refuse them.
    return [i for i in ids if i < config.vocab_size]


def load_model(name: str, dtype: str = "float32") -> nn.Module:
    """Open the weights in ``dtype``, in eval mode, without dropout or any code from the folder.

    Raises:
        UserError: when there is no model under that name, or the dtype is unknown.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise UserError(f"model.dtype must name a floating torch dtype, got {dtype!r}")
    name = resolve_name(name)
    return _open(AutoModelForCausalLM, name, config=load_config(name), dtype=kind)


def on_cpu() -> AbstractContextManager[Any]:
    """Create models in the host's memory, whatever Lightning's default device is.

    So adapters are the same for every strategy, an offloaded reference never fills a GPU, and a
    model is sharded before it is moved.
    """
    return torch.device("cpu")


def _open(auto_class: Any, name: str, **options: Any) -> Any:
    try:
        return auto_class.from_pretrained(name, trust_remote_code=False, **options)
    except OSError as error:
        raise UserError(
            f"model.name: {name!r} is not a local folder, and could not be loaded from the Hugging "
            f"Face Hub ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
