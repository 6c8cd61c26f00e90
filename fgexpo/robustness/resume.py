"""``--ckpt_path=last``: resume from the newest complete checkpoint of this run."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from ..errors import EnvironmentFailure
from ..files import OLD, Lock, put_back
from .order import PATTERN, newest_complete, why_not
from .places import checkpoint_folders, stay_in_folder

__all__ = ["find_last", "lock_of", "stay_in_folder"]

# A run that trains has an old checkpoint under its hidden name while it removes it.
_PATIENCE_SECONDS = 60.0


def lock_of(folder: Path) -> Lock:
    """Of a folder of checkpoints; a run holds it while it trains."""
    return Lock(folder / ".lock", f"the folder of checkpoints {str(folder)!r}")


def find_last(config: Any) -> Path | None:
    """The newest complete checkpoint that this configuration's runs have written.

    Args:
        config: a subcommand's configuration, not yet instantiated.

    Returns:
        None when there is no checkpoint yet; a requeued run may never have saved.

    Raises:
        UserError: when the configuration does not tell where they are.
    """
    places = checkpoint_folders(config)
    for root, pattern in places:
        for folder in {path.parent for path in root.glob(f"{pattern}.{PATTERN}.*{OLD}")}:
            _mend(folder)
    found, torn = newest_complete(
        path for root, pattern in places for path in root.glob(f"{pattern}{PATTERN}")
    )
    for path in torn:
        rank_zero_info(f"--ckpt_path=last: {path} is left out: {why_not(path)}")
    if found is not None:
        rank_zero_info(f"--ckpt_path=last: resuming from {found}")
    return found


def _mend(folder: Path) -> None:
    """Bring back a checkpoint that a kill has left without its name.

    All processes of a run come here at once, and one of them does it.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    while os.access(folder, os.W_OK) and any(folder.glob(f".{PATTERN}.*{OLD}")):
        lock = lock_of(folder)
        try:
            lock.take()
        except EnvironmentFailure:
            if time.monotonic() > until:
                return
            time.sleep(0.1)
            continue
        try:
            put_back(folder, PATTERN)
        finally:
            lock.release()
        return
