"""What libraries say to everybody, and nobody who trains can act on."""

import logging

from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers.utils.logging import disable_progress_bar

# Advertisements, and accelerators that were not asked for. Lightning has no switch for them.
NOISE = ("💡 Tip", "TPU available: False", "GPU available: False")


def hush() -> None:
    """Leave out Lightning's advertisements and the bar over weights that are read from a disk.

    Downloads keep their bars, and everything else its place in the log.
    """
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_worth_saying)
    # Transformers' switch turns off the hub's bars too.
    downloads = not are_progress_bars_disabled()
    disable_progress_bar()
    if downloads:
        enable_progress_bars()


def _worth_saying(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(NOISE)
