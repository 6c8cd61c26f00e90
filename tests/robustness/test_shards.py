"""Folders of shards: what is in them, what is refused, and which code of theirs is run: none."""

import itertools
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from fgexpo.errors import UserError
from fgexpo.parallel.slices import PLACE, Slice, Slices
from fgexpo.robustness import content
from fgexpo.robustness.checkpoint import (
    AtomicCheckpointIO,
    is_complete,
    newest_complete,
    read_checkpoint,
)
from fgexpo.robustness.content import COMMON, MARKER, commit_folder, fault
from fgexpo.robustness.order import Order, order_of
from fgexpo.robustness.shards import read_shards, shard_name, write_shard

TENSORS = {
    "wide": torch.arange(35, dtype=torch.float64).reshape(7, 5),
    "half": torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0)).bfloat16(),
    "flags": torch.tensor([True, False, True, True, False]),
    "one": torch.tensor([7]),
}


def cut(rank, world_size):
    """As FSDP2 cuts: by rows, the last processes perhaps without any."""
    found = {}
    for name, tensor in TENSORS.items():
        each = -(-len(tensor) // world_size)
        rows = tensor[each * rank : each * (rank + 1)]
        found[name] = Slice(rows, min(each * rank, len(tensor)), tuple(tensor.shape))
    return found


def make_folder(folder, world_size=2, common=None, number=1):
    """A complete checkpoint of that many processes."""
    folder.mkdir()
    known = {}
    for rank in range(world_size):
        name = shard_name(rank, world_size)
        known[name] = write_shard(folder / name, cut(rank, world_size), lambda: None)
    places = {name: {PLACE: name} for name in TENSORS}
    torch.save(common or {"fgexpo": {}, "state_dict": places}, folder / COMMON)
    commit_folder(folder, Order(number, number).text(), known)
    return folder


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_any_rows_are_read_from_any_number_of_shards(tmp_path, world_size):
    folder = make_folder(tmp_path / "step=000001.ckpt", world_size)
    assert is_complete(folder)
    found = read_checkpoint(folder, whole=False)["state_dict"]
    for name, tensor in TENSORS.items():
        for start, stop in itertools.combinations_with_replacement(range(len(tensor) + 1), 2):
            rows = found[name].rows(start, stop)
            assert rows.dtype == tensor.dtype and torch.equal(rows, tensor[start:stop]), name
    whole = read_checkpoint(folder)["state_dict"]
    assert all(torch.equal(whole[name], tensor) for name, tensor in TENSORS.items())


def test_other_programs_can_open_a_shard(tmp_path):
    size, _ = write_shard(tmp_path / "a.safetensors", cut(0, 1), lambda: None)
    assert size == (tmp_path / "a.safetensors").stat().st_size
    found = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_a_manifests_checksums_are_those_of_the_files(tmp_path):
    """The writers have told them; reading the files gives the same."""
    folder = make_folder(tmp_path / "a")
    told = (folder / MARKER).read_text()
    (folder / MARKER).unlink()
    commit_folder(folder, Order(1, 1).text())
    assert (folder / MARKER).read_text() == told


def test_rows_that_are_missing_or_there_twice_are_named(tmp_path):
    for name, slices in (("a", cut(0, 2)), ("b", cut(1, 2)), ("c", cut(1, 4))):
        write_shard(tmp_path / name, slices, lambda: None)
    a, b, c = (tmp_path / name for name in "abc")
    assert read_shards([a, b]).keys() == TENSORS.keys()
    for paths in ([a], [a, b, b], [a, c], [b]):
        with pytest.raises(UserError, match=r"tensor '.*(lacks rows|rows missing or twice)"):
            read_shards(paths)
    (tmp_path / "d").write_bytes(b"not a shard")
    with pytest.raises(UserError, match="d' cannot be read as a checkpoint's shard"):
        read_shards([tmp_path / "d"])


def lose_a_shard(folder):
    (folder / shard_name(1, 2)).unlink()


def change_a_byte(folder):
    path = folder / shard_name(1, 2)
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x40
    path.write_bytes(data)


def cut_short(folder):
    path = folder / shard_name(0, 2)
    path.write_bytes(path.read_bytes()[:-1])


def lose_the_marker(folder):
    (folder / MARKER).unlink()


def spoil_the_manifest(folder):
    (folder / MARKER).write_text('{"files": 3}')


def lose_the_common_part(folder):
    (folder / COMMON).unlink()


SPOILS = {
    lose_a_shard: "shard-00001-of-00002.safetensors is missing",
    change_a_byte: "shard-00001-of-00002.safetensors is not as it was written",
    cut_short: "shard-00000-of-00002.safetensors is not as it was written",
    lose_the_marker: "it has no file 'complete', which is written last",
    spoil_the_manifest: "cannot be read as a checkpoint's manifest",
    lose_the_common_part: "common.pt is missing",
}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_a_spoilt_folder_is_refused_and_last_finds_the_one_before(tmp_path, spoil):
    whole = make_folder(tmp_path / "step=000001.ckpt")
    torn = make_folder(tmp_path / "step=000002.ckpt", number=2)
    assert newest_complete(tmp_path.glob("step=*")) == (torn, [])
    spoil(torn)
    assert SPOILS[spoil] in str(fault(torn))
    assert newest_complete(tmp_path.glob("step=*")) == (whole, [torn])
    for load in (read_checkpoint, content.load):
        with pytest.raises(UserError, match="--ckpt_path: "):
            load(torn)


def test_a_folder_is_checked_once_by_a_process(tmp_path, monkeypatch):
    folder, read = make_folder(tmp_path / "a"), []
    found = content._size_and_checksum
    monkeypatch.setattr(
        content, "_size_and_checksum", lambda path: read.append(path.name) or found(path)
    )
    assert is_complete(folder) and is_complete(folder)
    assert len(read) == 6, "its files are so young that a change might not show in their times"
    monkeypatch.setattr(content.time, "time", lambda: folder.stat().st_ctime + 60)
    read.clear()
    assert is_complete(folder) and is_complete(folder)
    assert sorted(read) == [COMMON, shard_name(0, 2), shard_name(1, 2)]


class Touch:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_part_of_a_folder_runs_code(tmp_path):
    """Not what torch.distributed.checkpoint would unpickle, nor the common part."""
    mark = tmp_path / "executed"
    folder = make_folder(tmp_path / "step=000001.ckpt")
    # A file that the manifest does not name is not opened; another shard neither.
    (folder / ".metadata").write_bytes(pickle.dumps(Touch(str(mark))))
    write_shard(folder / "shard-9.safetensors", cut(0, 1), lambda: None)
    assert torch.equal(read_checkpoint(folder)["state_dict"]["one"], TENSORS["one"])
    evil = make_folder(tmp_path / "step=000002.ckpt", common={"fgexpo": Touch(str(mark))})
    assert is_complete(evil)
    with pytest.raises(UserError, match=r"000002\.ckpt' cannot be read as a checkpoint"):
        read_checkpoint(evil)
    stranger = make_folder(tmp_path / "step=000003.ckpt", common={"x": 1})
    with pytest.raises(UserError, match="is not a checkpoint of fgexpo"):
        read_checkpoint(stranger)
    nameless = {"fgexpo": {}, "state_dict": {"w": {PLACE: "nowhere"}}}
    with pytest.raises(UserError, match=r"000004\.ckpt' cannot be read .*nowhere"):
        read_checkpoint(make_folder(tmp_path / "step=000004.ckpt", common=nameless))
    assert not mark.exists()


def test_a_hostile_header_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    for header in ({}, {"__metadata__": {"fgexpo_rows": "[]"}}, {"__metadata__": {}}):
        one = {"x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
        text = json.dumps(one | header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + b"\1")
        with pytest.raises(UserError, match=r"a\.safetensors' cannot be read as a checkpoint's"):
            read_shards([path])


def test_the_order_is_read_without_the_shards(tmp_path):
    folder = make_folder(tmp_path / "step=000005.ckpt", number=5)
    change_a_byte(folder)
    assert order_of(folder) == Order(5, 5)


def test_writing_stops_when_it_is_told_to(tmp_path):
    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        write_shard(tmp_path / "a", cut(0, 1), stop)


def test_an_evaluation_leaves_the_optimizers_tensors_on_disk(tmp_path, monkeypatch):
    places = {name: {PLACE: name} for name in TENSORS}
    common = {"fgexpo": {}, "state_dict": {"one": places["one"]}, "optimizer_states": [places]}
    folder, read = make_folder(tmp_path / "a", common=common), []
    whole = Slices.whole
    monkeypatch.setattr(Slices, "whole", lambda self: read.append(self.shape) or whole(self))
    found = AtomicCheckpointIO().load_checkpoint(folder)
    assert torch.equal(found["state_dict"]["one"], TENSORS["one"]) and read == [(1,)]
    (state,) = found["optimizer_states"]
    assert all(torch.equal(state[name], tensor) for name, tensor in TENSORS.items())
