"""What the outside does to a run: files, disks, networks, and what other libraries say of them."""

from .failures import ENVIRONMENT, INPUT, TRACEBACK, causes, first_line, in_one_sentence, reading

__all__ = [
    "ENVIRONMENT",
    "INPUT",
    "TRACEBACK",
    "causes",
    "first_line",
    "in_one_sentence",
    "reading",
]
