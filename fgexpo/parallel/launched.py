"""What a launcher says about this process, before any process group exists."""

import os
from collections.abc import Mapping

_RANK = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
_NODE = ("NODE_RANK", "GROUP_RANK")
_OF_A_GROUP = (*_RANK, *_NODE, "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS")


def is_first() -> bool:
    """Whether this process is the first of its group, or alone.

    Lightning's ``rank_zero_only`` knows only what was so when it was imported.
    """
    for name in _RANK:
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in (*_NODE, "LOCAL_RANK"))


def alone() -> Mapping[str, str]:
    """The environment for a command that is a run of its own, not one of this group."""
    return {name: value for name, value in os.environ.items() if name not in _OF_A_GROUP}
