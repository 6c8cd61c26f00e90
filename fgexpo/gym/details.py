"""What the scorer of a question needs beside its gold answer, as the text ``Question.details``."""

import base64
import json
import pickle
import zlib
from typing import Any

_KIND = "reasoning_gym"


def pack(name: str, settings: dict[str, Any], entry: dict[str, Any]) -> str:
    """A question's details.

    Args:
        name: of the data set.
        settings: its scorer may depend on them.
        entry: the question as the package made it. Its metadata holds what JSON does not, such as
            tuples that the scorer compares; so it is pickled.
    """
    packed = base64.b64encode(zlib.compress(pickle.dumps(entry), 1)).decode()
    return json.dumps({"kind": _KIND, "name": name, "settings": settings, "entry": packed})


def name_of(details: str) -> str | None:
    """The data set that a question is of; None if it is of none."""
    if not details.startswith(f'{{"kind": "{_KIND}"'):
        return None
    return json.loads(details)["name"]


def unpack(details: str) -> tuple[str, str, dict[str, Any]]:
    """Name, settings as JSON, and entry.

    Only for a worker: pickles of others could run code, and these are the source's own.
    """
    found = json.loads(details)
    entry = pickle.loads(zlib.decompress(base64.b64decode(found["entry"])))
    return found["name"], json.dumps(found["settings"], sort_keys=True), entry
