"""Where a run's files go."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """The logger's folder of this run, the same on all processes.

    The processes agree on it together, so call it where all of them come by: in ``setup``.
    """
    return Path(trainer.log_dir or trainer.default_root_dir)


def write_json(path: Path, content: Any) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
