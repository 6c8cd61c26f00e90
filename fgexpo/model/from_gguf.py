"""Read a GGUF file, the format of llama.cpp, and write it as a Hugging Face folder.

The weights are unpacked to float32, whatever they are packed in: a folder of Q4 weights holds the
rounded numbers that llama.cpp computes with, and not those of the original model.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ..errors import UserError
from ..outside import reading
from .hf_folder import ModelArchive, save_model
from .loading import check_weights, load_model, load_tokenizer, on_cpu

_WHAT = "a GGUF file of a causal language model"
# Tensors and a setting of positions that are scaled.
_SCALED = "rope_f"
# What says so: a kind of scaling, or a factor, which stands alone in older files.
_UNSCALED = {
    ".rope.scaling.type": ("", "none"),
    ".rope.scaling.factor": (0.0, 1.0),
    ".rope.scale_linear": (0.0, 1.0),
}
# Holds what tokenizers split differently: digits, spaces, line breaks, letters of other scripts.
_PROBE = "12 + 3456 = 3468;\n\n  It's\t\u00fcn\u00ef \u4f60\u597d, x_1\n"


def check_extra() -> None:
    """Check that the package is there that reads GGUF files.

    Raises:
        UserError: saying how to install it.
    """
    if find_spec("gguf") is None:
        raise UserError(
            "from_gguf needs the package gguf: `pip install -c constraints.txt -e '.[real]'`"
        )


def read_gguf(path: Path) -> tuple[Any, Any]:
    """Model in float32, and tokenizer, of a GGUF file.

    Raises:
        UserError: for a file that is damaged, of an architecture that transformers cannot read, or
            whose numbers it would not read completely.
    """
    check_extra()
    from transformers import GgufConfig

    folder, name = str(path.parent), path.name
    with on_cpu(), reading(path, _WHAT):
        scaled = _scaled_positions(path)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model, found = loaded
    check_weights(str(path), found)
    rope = getattr(model.config, "rope_parameters", None) or {}
    if scaled is not None and rope.get("rope_type", "default") == "default":
        raise UserError(
            f"{str(path)!r}: the model scales its positions ({scaled}), which transformers does "
            "not read from a GGUF file, so it would compute other numbers; take the model's "
            "Hugging Face folder"
        )
    return model, tokenizer


def write_folder(model: Any, tokenizer: Any, folder: Path) -> Any:
    """Write weights, configuration and tokenizer; return the model as the folder gives it back.

    Raises:
        UserError: when the folder gives back another model or tokenizer.
    """
    # The file's title, which would be taken for the folder that the model was loaded from.
    model.config.__dict__.pop("_model_name_or_path", None)
    model.name_or_path = ""
    save_model(model, ModelArchive().files(model, tokenizer), folder)
    again = load_model(str(folder))
    saved = again.state_dict()
    changed = [
        name for name, value in model.state_dict().items() if not torch.equal(value, saved[name])
    ]
    assert not changed, f"weights changed on the way to the disk: {changed[:3]}"
    ids, others = (each(_PROBE).input_ids for each in (tokenizer, load_tokenizer(str(folder))))
    if ids != others:  # the class that transformers takes for the folder splits text its own way
        raise UserError(
            f"the tokenizer cannot be kept in a folder: its class there, {type(tokenizer).__name__}"
            f" of a {model.config.model_type}, splits text otherwise than the GGUF file says"
        )
    return again


def _scaled_positions(path: Path) -> str | None:
    """What in the file says that positions are scaled, or None."""
    from gguf import GGUFReader  # pyright: ignore[reportMissingImports]

    file = GGUFReader(path)
    for tensor in file.tensors:
        if tensor.name.startswith(_SCALED):
            return tensor.name
    for name, field in file.fields.items():
        for ending, unscaled in _UNSCALED.items():
            if name.endswith(ending) and field.contents() not in unscaled:
                return f"{name} = {field.contents()}"
    return None
