"""The model's configuration and tokenizer as text, which make a checkpoint self-contained."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

GENERATION = "generation_config.json"


class ModelArchive:
    """Keeps the small files of a Hugging Face folder as text; reads them once."""

    def __init__(self) -> None:
        self._files: dict[str, str] | None = None

    def files(self, policy: Any, tokenizer: Any) -> dict[str, str]:
        """Contents by file name: everything but the weights."""
        if self._files is None:
            with tempfile.TemporaryDirectory() as folder:
                policy.config.save_pretrained(folder)
                if policy.generation_config is not None:
                    # Not save_pretrained, which refuses what many models come with, such as a
                    # temperature without do_sample.
                    policy.generation_config.to_json_file(
                        Path(folder, GENERATION), keys_to_pop=["compile_config"]
                    )
                tokenizer.save_pretrained(folder)
                self._files = {
                    str(path.relative_to(folder)): path.read_text()
                    for path in sorted(Path(folder).rglob("*"))
                    if path.is_file()
                }
        return self._files


def write_model(files: dict[str, str], weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write a Hugging Face folder, its weights as safetensors.

    Args:
        files: see :meth:`ModelArchive.files`.
        weights: every weight by its Hugging Face name.
        folder: to write.

    Raises:
        ValueError: for a file that would leave the folder.
    """
    save_model(assemble(files, weights), files, folder)


def assemble(files: dict[str, str], weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """The model of archived files, with these weights."""
    settings = json.loads(files["config.json"])
    config = CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(weights, strict=True, assign=True)
    return model


def save_model(model: Any, files: dict[str, str], folder: Path) -> None:
    """Write an assembled model and its archived files.

    Raises:
        ValueError: for a file that would leave the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_files(files, folder)
    model.save_pretrained(folder)
    if GENERATION in files:  # the model has written one of its own
        write_files({GENERATION: files[GENERATION]}, folder)
    readable = (folder / "config.json").stat().st_mode
    for path in folder.glob("*.safetensors"):
        path.chmod(readable)  # safetensors makes it readable by its owner only


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write archived files into a folder.

    Raises:
        ValueError: for a name that would leave the folder.
    """
    for name, text in files.items():
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ValueError(f"the checkpoint names a file outside its folder: {name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
