"""What a configuration can name: classes and their settings, read from the source itself.

Nothing is imported, so that help and a typing mistake cost no second of importing torch.
"""

from .installed import read_catalogue
from .slots import Slot, find_slots, object_setting
from .source import Catalogue, ClassSource, Setting, plain

__all__ = [
    "Catalogue",
    "ClassSource",
    "Setting",
    "Slot",
    "find_slots",
    "object_setting",
    "plain",
    "read_catalogue",
]
