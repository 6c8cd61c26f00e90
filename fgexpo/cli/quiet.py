"""Silences messages of libraries that a user cannot act on."""

import logging

from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers.utils.logging import disable_progress_bar

# Advertisements, and accelerators that were not requested. Lightning has no switch for them.
NOISE = ("💡 Tip", "TPU available: False", "GPU available: False")


def hush() -> None:
    """Drop Lightning's advertisements and the progress bar for weights read from a disk.

    Downloads keep their bars, and everything else is still logged.
    """
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_worth_saying)
    # Transformers' switch also turns off the hub's bars.
    downloads = not are_progress_bars_disabled()
    disable_progress_bar()
    if downloads:
        enable_progress_bars()


def _worth_saying(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(NOISE)
