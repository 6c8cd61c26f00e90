"""``--ckpt_path=last``: resume from the newest complete checkpoint of this run."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info

from .order import PATTERN, newest_complete, why_not
from .places import checkpoint_folders, stay_in_folder

__all__ = ["find_last", "stay_in_folder"]


def find_last(config: Any) -> Path | None:
    """The newest complete checkpoint that this configuration's runs have written.

    Args:
        config: a subcommand's configuration, not yet instantiated.

    Returns:
        None when there is no checkpoint yet; a requeued run may never have saved.

    Raises:
        UserError: when the configuration does not tell where they are.
    """
    found, torn = newest_complete(
        path
        for root, pattern in checkpoint_folders(config)
        for path in root.glob(f"{pattern}{PATTERN}")
    )
    for path in torn:
        rank_zero_info(f"--ckpt_path=last: {path} is left out: {why_not(path)}")
    if found is not None:
        rank_zero_info(f"--ckpt_path=last: resuming from {found}")
    return found
