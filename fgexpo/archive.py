"""What makes a checkpoint self-contained: the texts of the model's configuration and tokenizer."""

import tempfile
from pathlib import Path
from typing import Any


class ModelArchive:
    """Keeps the small files of a Hugging Face folder as text, collected once."""

    def __init__(self) -> None:
        self._files: dict[str, str] | None = None

    def files(self, policy: Any, tokenizer: Any) -> dict[str, str]:
        """Contents by file name; everything but the weights."""
        if self._files is None:
            with tempfile.TemporaryDirectory() as folder:
                policy.config.save_pretrained(folder)
                if policy.generation_config is not None:
                    policy.generation_config.save_pretrained(folder)
                tokenizer.save_pretrained(folder)
                self._files = {
                    str(path.relative_to(folder)): path.read_text()
                    for path in sorted(Path(folder).rglob("*"))
                    if path.is_file()
                }
        return self._files


def write_weights(model: Any, folder: Path) -> None:
    """Write a model's weights (safetensors) and configuration, as readable as any other file."""
    model.save_pretrained(folder)
    readable = (folder / "config.json").stat().st_mode
    for path in folder.glob("*.safetensors"):
        path.chmod(readable)  # written for the owner alone


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
