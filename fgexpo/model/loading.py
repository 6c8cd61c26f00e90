"""Open a Hugging Face folder or hub id, with errors that name the setting."""

import json
import logging
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import GENERATION_CONFIG_NAME
from transformers.utils.hub import cached_file

from ..errors import UserError
from ..outside import first_line, reading
from ..outside.failures import ADVICE

_LOCAL = re.compile(r"(\.|/|~|checkpoints/|runs/)")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_RANDOM = re.compile(r"dropout|_pdrop$|layerdrop|jitter")
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "tekken.json")
_KINDS: dict[Any, str] = {
    AutoConfig: "a model's config.json",
    AutoModelForCausalLM: "a model's weights",
    AutoTokenizer: "a tokenizer",
    GenerationConfig: "a generation_config.json",
}


def resolve_name(name: str) -> str:
    """Return a folder that exists, or a name that may be a hub id.

    Raises:
        UserError: when it is neither.
    """
    folder = Path(name).expanduser()
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"model.name: folder {name!r} holds LoRA adapters (adapter_config.json); merge them "
            "into their model and name the folder of the result"
        )
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
    name = resolve_name(name)
    load_config(name)  # the tokenizer reads it too, and would be blamed for its faults
    tokenizer = _open(AutoTokenizer, name, trust_remote_code=False)
    files = {*tokenizer.vocab_files_names.values(), *_VOCABULARIES}
    folder = Path(name)
    # Without any, transformers makes a tokenizer that knows no word.
    if folder.is_dir() and not any((folder / file).is_file() for file in files):
        raise UserError(
            f"model.name: folder {name!r} has no tokenizer, expected one of {sorted(files)}"
        )
    return tokenizer


def load_config(name: str) -> Any:
    """Open the model's configuration, and set to 0 whatever would make its numbers random.

    Old and new log-probs must differ only by the update, and trainer and engine only by
    rounding.

    Raises:
        UserError: when there is none under that name.
    """
    config = _open(AutoConfig, resolve_name(name), trust_remote_code=False)
    _make_certain(config)
    return config


def load_end_ids(name: str) -> list[int]:
    """Ids at which ``generation_config.json`` ends a completion; without it, ``config.json``.

    Chat models list ends of a turn there that are not the tokenizer's eos.

    Raises:
        UserError: when the file cannot be read, or holds something else than ids.
    """
    config = load_config(name).get_text_config()
    try:
        path = str(cached_file(resolve_name(name), GENERATION_CONFIG_NAME))
    except OSError:
        path, found = f"{name}/config.json", config.eos_token_id
    else:
        with reading(path, "a JSON object", "model.name"):
            found = dict(json.loads(Path(path).read_text(encoding="utf-8"))).get("eos_token_id")
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise UserError(
            f"model.name: {path!r} has eos_token_id = {found!r}, expected a token's id or a list"
        )
    # Others cannot be drawn, and engines refuse them.
    return [i for i in ids if i < config.vocab_size]


def load_model(name: str, dtype: str = "float32") -> nn.Module:
    """Open the weights in ``dtype``, in eval mode, without dropout or any code from the folder.

    Raises:
        UserError: when there is no model under that name, it does not have exactly the weights that
            its configuration asks for, or the dtype is unknown.
    """
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise UserError(f"model.dtype must name a floating torch dtype, got {dtype!r}")
    name = resolve_name(name)
    config = load_config(name)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"model.name: {name!r} holds a {config.model_type!r}, which is no causal language model"
        )
    if (Path(name) / "generation_config.json").is_file():
        _open(GenerationConfig, name)  # transformers takes its own for one that it cannot read
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(_is_no_report)
    try:
        model, found = _open(
            AutoModelForCausalLM,
            name,
            trust_remote_code=False,
            config=config,
            dtype=kind,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that the sizes are told, not only that they differ
        )
    finally:
        logger.removeFilter(_is_no_report)
    check_weights(name, found)
    return model


def check_weights(name: str, found: Mapping[str, Any]) -> None:
    """Check that a folder held the model's weights, all of them and no others.

    Args:
        name: of the folder.
        found: what transformers reports; a weight that is tied to another is not missing.

    Raises:
        UserError: with the first few weights that are missing, have another shape or belong to no
            part of the model.
    """
    shapes = [
        f"{weight} is {list(saved)} for {list(wanted)}"
        for weight, saved, wanted in found["mismatched_keys"]
    ]
    faults = [
        f"{len(weights)} {what} ({_first_few(sorted(weights))})"
        for what, weights in (
            ("missing", found["missing_keys"]),
            ("of another shape", shapes),
            ("not of this model", found["unexpected_keys"]),
            ("not readable", found["error_msgs"]),
        )
        if weights
    ]
    if faults:
        raise UserError(
            f"model.name: the weights in {name!r} are not those that its config.json asks for: "
            f"{', '.join(faults)}"
        )


def on_cpu() -> AbstractContextManager[Any]:
    """Create models in the host's memory, whatever Lightning's default device is.

    So adapters are the same for every strategy, an offloaded reference never fills a GPU, and a
    model is sharded before it is moved.
    """
    return torch.device("cpu")


def _make_certain(config: Any) -> None:
    """Set dropout and noise to 0, in the parts of a composite configuration too."""
    for key, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            _make_certain(value)
        elif isinstance(value, float) and _RANDOM.search(key):
            setattr(config, key, 0.0)


def _first_few(names: list[str], count: int = 3) -> str:
    return ", ".join([*names[:count], *(["..."] if len(names) > count else [])])


def _is_no_report(record: logging.LogRecord) -> bool:
    # Transformers prints a table of what our error says in one sentence.
    return "LOAD REPORT" not in record.getMessage()


def _open(auto_class: Any, name: str, **options: Any) -> Any:
    with reading(name, _KINDS[auto_class], "model.name"):
        try:
            return auto_class.from_pretrained(name, **options)
        except StrictDataclassError as error:  # the value that it refuses is on its last line
            raise UserError(
                f"model.name: {name!r} cannot be read as {_KINDS[auto_class]} "
                f"({' '.join(str(error).split())})"
            ) from error
        except UnpicklingError as error:
            raise UserError(
                f"model.name: the weights in {name!r} are a pickle that holds more than tensors, "
                "which could run code, so it is not opened; save them as safetensors"
            ) from error
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise UserError(
                f"model.name: {name!r} needs code of its own to be opened (trust_remote_code), "
                "which is never run; name a model that transformers knows"
            ) from error
        except OSError as error:
            if error.errno in ADVICE or Path(name).is_dir():
                raise
            raise UserError(
                f"model.name: {name!r} is not a local folder, and could not be loaded from the "
                f"Hugging Face Hub ({first_line(error)})"
            ) from error
