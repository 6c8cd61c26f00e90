"""Silences what libraries say that a reader cannot act on; a warning that is left is one line."""

import logging
import os
import warnings
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
from transformers.utils.logging import disable_progress_bar

from .failures import TRACEBACK

# Log records by their beginnings. Lightning has no switch for them: advertisements, accelerators
# and what the configuration tells: device, precision and seed. The advice about Tensor Cores is
# about products in float32, whose precision is the user's choice.
NOISE = (
    *("💡 Tip", "TPU available: False", "GPU available: ", "Seed set to", "LOCAL_RANK: "),
    *("Using bfloat16 Automatic Mixed", "You are using a CUDA device"),
    # What ended the run is what the configuration asked for.
    "`Trainer.fit` stopped: `max_steps=",
)
LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)
# The hub's client tells of each of its five attempts in two lines; the first says it all.
HUB, ATTEMPTS = "huggingface_hub.utils._http", ("Retrying in", "thrown while requesting")

# Warnings that are harmless here, each with its reason.
HARMLESS = (
    # On purpose: the command line passes its own arguments on.
    "LightningCLI's args parameter",
    # On purpose: this design uses the module's hook.
    "You have overridden `on_after_batch_transfer`",
    # Raised inside Lightning 2.6 on torch 2.13.
    r"`isinstance\(treespec, LeafSpec\)`",
    # A run without evaluation sets (data.val: null) has no validation loader.
    "Total length of `list` across ranks is zero",
    # A loader hands over questions that are in memory already: workers would only copy them.
    "The '.*dataloader' does not have many workers",
    # The sampler draws by step, so a loader has no state of its own (test_resume.py).
    "You're resuming from a checkpoint that ended before the epoch ended",
)
# Evaluation does not need training's callbacks, such as AKL or the first validation.
HARMLESS_BUT_IN_FIT = "Be aware that when using `ckpt_path`, callbacks used to create"

PACKAGES = ("fgexpo", "fgexpo.callbacks", "fgexpo.datamodules")
_format = warnings.formatwarning


def hush(everywhere: bool = False) -> None:
    """Drop the noise and the progress bar for weights read from a disk.

    Downloads keep their bars, and everything else is still logged.

    Args:
        everywhere: warnings of other packages are told in one line too, as those of this one.
    """
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_worth_saying)
    logging.getLogger(HUB).addFilter(_first_attempt)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
    if everywhere or warnings.formatwarning is not _every_in_one_line:
        warnings.formatwarning = _every_in_one_line if everywhere else _ours_in_one_line
    # Transformers' switch also turns off the hub's bars.
    downloads = not are_progress_bars_disabled()
    disable_progress_bar()
    if downloads:
        enable_progress_bars()


def _worth_saying(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(NOISE)


_attempts: set[str] = set()


def _first_attempt(record: logging.LogRecord) -> bool:
    said = [words for words in ATTEMPTS if words in record.getMessage()]
    new = not _attempts & {*said}
    _attempts.update(said)
    return new


def _ours_in_one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning of this project without the place in its code, which tells a reader nothing."""
    if os.environ.get(TRACEBACK) or not any(map(Path(filename).is_relative_to, _folders())):
        return _format(message, category, filename, lineno, line)
    return _one_line(message)


def _every_in_one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    if os.environ.get(TRACEBACK):
        return _format(message, category, filename, lineno, line)
    return _one_line(message)


def _one_line(message: Warning | str) -> str:
    return f"warning: {' '.join(str(message).split())}\n"


def _folders() -> list[str]:
    specs = [find_spec(name) for name in PACKAGES]
    return [
        folder
        for spec in specs
        if spec is not None
        for folder in spec.submodule_search_locations or ()
    ]
