"""A checkpoint is opened in one way, and what lies beside it does not matter."""

import ast
import os
import socket
import time
import zipfile

import pytest
import torch
from helpers import write_checkpoint
from jsonargparse import Namespace
from test_house import FILES

from fgexpo.errors import UserError
from fgexpo.robustness import content
from fgexpo.robustness.checkpoint import AtomicCheckpointIO, newest_complete, read_checkpoint
from fgexpo.robustness.content import MARKER, commit_folder, fault, is_complete
from fgexpo.robustness.order import Order, order_of
from fgexpo.robustness.resume import find_last


def test_nobody_else_opens_a_checkpoint():
    """torch.load, Lightning's own loading and a bare unpickling are called in one file alone."""
    opening = {"torch.load", "pl_load", "_load", "pickle.load", "pickle.loads", "super().load"}
    calling = set()
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in opening or called.endswith("super().load_checkpoint"):
                    calling.add(name)
    assert calling == {"fgexpo.robustness.content"}


def spoil_a_weight(path):
    """Another exponent of one number, as a bad memory or disk makes it."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
    where = largest.header_offset + 1000
    content = bytearray(path.read_bytes())
    content[where] ^= 0x40
    path.write_bytes(content)


def test_a_weight_that_changes_after_it_was_checked_is_seen(tmp_path):
    path = write_checkpoint(tmp_path, 1, age=0)
    assert is_complete(path) and is_complete(path)
    spoil_a_weight(path)
    os.utime(path, (1e9, 1e9))  # the file's time says nothing
    for load in (AtomicCheckpointIO().load_checkpoint, read_checkpoint):
        with pytest.raises(UserError, match=r"step=000001\.ckpt' cannot be read .*Bad CRC-32"):
            load(path)


def test_a_file_is_checked_once_by_a_process(tmp_path, monkeypatch):
    path, asked = write_checkpoint(tmp_path, 1, age=0), []
    monkeypatch.setattr(content, "_fault_of_file", lambda path: asked.append(path) or "")
    for _ in range(3):
        assert is_complete(path)
    assert asked == [path]


def test_the_order_is_read_without_the_tensors(tmp_path):
    path = write_checkpoint(tmp_path, 7, age=0, number=12)
    assert order_of(path) == Order(12, 7) and is_complete(path)
    assert read_checkpoint(path).keys() == {"fgexpo", "x"}
    with zipfile.ZipFile(path) as archive:
        spoilt = archive.getinfo("archive/data/0").header_offset
    whole = path.read_bytes()
    path.write_bytes(whole[:spoilt] + bytes(2000) + whole[spoilt + 2000 :])
    assert order_of(path) == Order(12, 7) and not is_complete(path)


def make_directory(folder, number=3):
    (folder / "shards").mkdir(parents=True)
    for shard in range(2):
        (folder / "shards" / f"{shard}.distcp").write_bytes(bytes(1000))
    commit_folder(folder, Order(number, 5).text())
    return folder


def test_a_directorys_files_are_as_they_were_written(tmp_path):
    folder = make_directory(tmp_path / "step=000005.ckpt")
    assert is_complete(folder) and order_of(folder) == Order(3, 5)
    shard = folder / "shards" / "1.distcp"
    for content_, words in ((bytes(999) + b"\1", "is not as"), (bytes(999), "is not as")):
        shard.write_bytes(content_)
        assert words in fault(folder) and "shards/1.distcp" in fault(folder)
    shard.unlink()
    assert "shards/1.distcp is missing" in fault(folder)
    # Written before there were manifests.
    (folder / MARKER).write_text("")
    assert is_complete(folder) and order_of(folder) == Order(0, 5)
    (folder / MARKER).write_text("{")
    assert "cannot be read as a checkpoint's manifest" in fault(folder)


def looping(path):
    path.symlink_to(path.name)


def socket_(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def empty_folder_with_marker(path):
    path.mkdir()
    (path / MARKER).touch()


def other_pickle(path):
    torch.save({"x": Namespace(a=1)}, path)


def foreign_archive(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", "x" * 1000)


NEIGHBOURS = {
    "dangling": lambda path: path.symlink_to("nowhere"),
    "looping": looping,
    "fifo": os.mkfifo,
    "socket": socket_,
    "folder": os.mkdir,
    "empty folder with the marker": empty_folder_with_marker,
    "marker that is a folder": lambda path: (path / MARKER).mkdir(parents=True),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("PK\3\4 not an archive"),
    "foreign archive": foreign_archive,
    "pickle of code": other_pickle,
}


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_last_walks_past_a_bad_neighbour_and_names_it(tmp_path, caplog, kind):
    whole = write_checkpoint(tmp_path, 4, age=10)
    bad = tmp_path / "step=000009.ckpt"
    NEIGHBOURS[kind](bad)
    config = Namespace(trainer=Namespace(logger=False), checkpoint=Namespace(dirpath=str(tmp_path)))
    began = time.monotonic()
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        assert find_last(config) == whole
    assert time.monotonic() - began < 5
    assert newest_complete(tmp_path.glob("step=*")) == (whole, [bad])
    with pytest.raises((UserError, OSError)):
        read_checkpoint(bad)
    assert f"{bad} is left out" in caplog.text


def test_last_walks_past_what_it_may_not_read(tmp_path, monkeypatch):
    """The file system's answer is planted, since a superuser may read everything."""
    whole = write_checkpoint(tmp_path, 4, age=10, number=4)
    closed = write_checkpoint(tmp_path, 5, age=0, number=5)

    def refuse(path, *arguments, **options):
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return open_archive(path, *arguments, **options)

    open_archive = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    assert newest_complete(tmp_path.glob("step=*")) == (whole, [closed])
    assert "Permission denied" in fault(closed)
