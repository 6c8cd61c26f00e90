import errno
import os
from pathlib import Path

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.outside import in_one_sentence, reading


def test_what_a_library_says_about_a_file_becomes_one_sentence():
    with pytest.raises(UserError) as caught, reading("x.json", "a JSON list", "data.train.path"):
        {}["weight"]
    said = "data.train.path: 'x.json' cannot be read as a JSON list (KeyError: 'weight')"
    assert str(caught.value) == said


def test_a_sentence_of_ours_passes_as_it_is():
    with pytest.raises(UserError, match="row 3 has no answer"), reading("x.json", "a JSON list"):
        raise UserError("row 3 has no answer")


def test_a_full_disk_is_not_the_fault_of_the_file():
    with pytest.raises(OSError, match="No space left"), reading("x.json", "a JSON list"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.json")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("a: 1 is not 2"), ("a: 1 is not 2", 2)),
        (EnvironmentFailure("the engine is gone"), ("the engine is gone", 1)),
        (MisconfigurationException("no such strategy\nlong story"), 2),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a"),
            ("'runs/a': No space left on device; free some space and rerun the same command", 1),
        ),
        (OSError("of a library"), None),
        (KeyError("of ours"), None),
        (ValueError("of ours"), None),
    ],
)
def test_only_what_the_outside_did_is_told_in_one_sentence(error, told):
    found = in_one_sentence(error)
    if isinstance(told, int):
        assert found is not None
        assert found[1] == told
        assert "\n" not in found[0]
    else:
        assert found == told


def test_the_cause_is_found_behind_a_parsers_error():
    error = ValueError("of the parser")
    error.__cause__ = UserError("model.name: no such folder")
    assert in_one_sentence(error) == ("model.name: no such folder", 2)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError) as caught:
        Path("/nowhere/at/all").read_text()
    told = in_one_sentence(caught.value)
    assert told is not None
    assert told[0].startswith("'/nowhere/at/all': No such file or directory")
    assert told[1] == 1
