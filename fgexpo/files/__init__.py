"""Where a run's files go, and how they are written: complete and flushed to disk, or not at all."""

from .lock import Lock, is_locked, locked
from .run_folder import claim_version, run_folder, settle, version_name
from .whole import (
    OLD,
    PARTIAL,
    beside,
    exchange,
    put_back,
    remove,
    sync_folder,
    sync_tree,
    whole_file,
    whole_folder,
    write_json,
    write_text,
)

__all__ = [
    "OLD",
    "PARTIAL",
    "Lock",
    "beside",
    "claim_version",
    "exchange",
    "is_locked",
    "locked",
    "put_back",
    "remove",
    "run_folder",
    "settle",
    "sync_folder",
    "sync_tree",
    "version_name",
    "whole_file",
    "whole_folder",
    "write_json",
    "write_text",
]
