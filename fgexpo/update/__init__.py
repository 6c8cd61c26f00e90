"""A loss becomes new weights."""

from .averaged import Averaged
from .reference_update import ReferenceUpdate
from .reset import Reset

__all__ = ["Averaged", "ReferenceUpdate", "Reset"]
