"""Numbers that are logged at every step, without Lightning's copy of each one's description.

``LightningModule.log`` compares a value's description with the one of its first call, and moves
that to the value's device; for this it copies the description with all that it refers to, which
takes ten times as long as the rest. Where the same hook logs the same tag with the same options
again, all of this has been done before.
"""

from typing import Any

import torch
from lightning.pytorch import LightningModule

from ..model.precision import precise


class QuickLog(LightningModule):
    """A module whose ``log`` does the same in less time for a step's repeated numbers.

    Only a plain number, logged for its step alone, takes the short way, and only after the first
    batch of an epoch, in which Lightning forgets the numbers of the epoch before.
    """

    def log(self, name: str, value: Any, *args: Any, **options: Any) -> None:
        """See :meth:`lightning.pytorch.LightningModule.log`."""
        given = (args, options)
        if not self._log_again(name, value, given):
            super().log(name, value, *args, **options)
            self._log_options[self._log_key(name)] = given

    @property
    def _log_options(self) -> dict[str, Any]:
        """With which options each tag of a hook was logged the last time."""
        return self.__dict__.setdefault("_options_of_logged", {})

    def _log_key(self, name: str) -> str:
        """As Lightning calls a tag that this hook logs."""
        return f"{self._current_fx_name}.{name}"

    def _log_again(self, name: str, value: Any, given: Any) -> bool:
        """Log a number of a known tag; False where Lightning has to do it."""
        trainer: Any = self._trainer
        if type(value) not in (float, int) or trainer is None or trainer._results is None:
            return False
        results, connector, key = trainer._results, trainer._logger_connector, self._log_key(name)
        metric = results.get(key)
        if (
            metric is None
            or metric.meta.on_epoch  # summed over the epoch, weighted by the batch's size
            or connector._first_loop_iter is not False
            or results.dataloader_idx is not None
            or self._log_options.get(key) != given
        ):
            return False
        number = torch.tensor(value, device=self.device, dtype=precise(torch.get_default_dtype()))
        if metric.value.device != number.device:
            return False
        metric.forward(number, 1)
        metric.has_reset = False
        connector._current_fx = self._current_fx_name
        return True
