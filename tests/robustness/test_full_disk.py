"""A full disk keeps the last checkpoint, and says how much is wanted and how much there is."""

import errno
import resource
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from helpers import write_checkpoint

from fgexpo.errors import EnvironmentFailure
from fgexpo.outside import in_one_sentence
from fgexpo.robustness import checkpoint as saving
from fgexpo.robustness.checkpoint import AtomicCheckpointIO, is_complete, size_of

NEW = {"fgexpo": {}, "x": torch.zeros(50_000)}


@contextmanager
def files_of_at_most(size):
    """As a full disk, writing fails in the middle; this limit needs no disk and no rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [20_000, 60_000, 200_100])
def test_a_disk_that_fills_while_a_save_writes(tmp_path, size):
    """20,000 bytes are less than Python's buffer; 200,100 only lack the end of the archive."""
    old = write_checkpoint(tmp_path, 1, age=10, number=1)
    new = tmp_path / "step=000002.ckpt"
    with pytest.raises(EnvironmentFailure) as failure, files_of_at_most(size):
        AtomicCheckpointIO().save_checkpoint(NEW, new)
    told, status = in_one_sentence(failure.value)
    assert (
        status == 1 and f"checkpoint {str(new)!r} was not saved (File too large): it wants" in told
    )
    assert is_complete(old) and [path.name for path in tmp_path.iterdir()] == [old.name]


def test_a_save_that_will_not_fit_is_not_begun(tmp_path, monkeypatch):
    old = write_checkpoint(tmp_path, 1, age=10, number=1)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100_000))
    monkeypatch.setattr(saving, "_write", None)
    words = r"\(No space left on device\): it wants 0\.2 MB and 0\.1 MB are free; older"
    with pytest.raises(EnvironmentFailure, match=words):
        AtomicCheckpointIO().save_checkpoint(NEW, tmp_path / "step=000002.ckpt")
    assert is_complete(old) and [path.name for path in tmp_path.iterdir()] == [old.name]


def test_other_errors_keep_their_names(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as failure:
        AtomicCheckpointIO().save_checkpoint(NEW, tmp_path / "file" / "step=000002.ckpt")
    assert failure.value.errno == errno.EEXIST


def test_the_size_is_that_of_what_is_written(tmp_path):
    weight = torch.zeros(100_000)
    content = {
        "a": {"w": weight, "same": weight, "view": weight[:10]},
        "b": [torch.zeros(1000, dtype=torch.int8)],
        "files": "x" * 5000,
    }
    assert size_of(content) == 400_000 + 1000 + 5000
    torch.save(content, tmp_path / "x")
    assert 0 <= (tmp_path / "x").stat().st_size - size_of(content) < 5000
