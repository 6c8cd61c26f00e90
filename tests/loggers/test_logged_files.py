"""Files that a resumed run reads of its earlier starts."""

import struct

import pytest

from fgexpo.errors import UserError
from fgexpo.figures.events import curves, read_run
from fgexpo.loggers.csv_rows import CSVRows, read_rows
from fgexpo.loggers.fresh import fresh
from fgexpo.loggers.mlflow import metric_name, spelling
from fgexpo.loggers.wandb_file import messages
from fgexpo.loggers.wandb_file import read_rows as read_wandb


def test_what_is_fresh_has_no_value_at_this_step_or_later():
    last = {"old": 5, "older": 4}.get
    values = {"old": 1.0, "older": 2.0, "new": 3.0}
    assert fresh(values, 5, last) == {"older": 2.0, "new": 3.0}
    assert fresh(values, 6, last) == values and fresh(values, None, last) == values


def test_mlflows_spelling():
    assert metric_name("val/tiny/pass@8") == "val/tiny/pass_at_8"
    assert metric_name("reward") == "train/reward" and metric_name("loss/kl") == "loss/kl"
    assert spelling("val/my set (2)/é") == "val/my set _2_/_"


def test_csv_repeats_replace_and_new_columns_join(tmp_path):
    rows = CSVRows(tmp_path, resume=True)
    for step, values in ((1, {"a": 1}), (2, {"a": 2, "b": 2}), (3, {"a": 3})):
        rows.log_metrics(values, step)
        rows.save()
    assert rows.path.read_text().splitlines() == ["step,a,b", "1,1.0,", "2,2.0,2.0", "3,3.0,"]
    with rows.path.open("a") as file:
        file.write("4,4.0,0.1234")  # of a process that was killed while it wrote
    again = CSVRows(tmp_path, resume=True)
    for step, values in ((3, {"a": 30}), (3, {"b": 31}), (4, {"a": 40}), (5, {"a": float("nan")})):
        again.log_metrics(values, step)
        again.save()
    expected = ["step,a,b", "1,1.0,", "2,2.0,2.0", "3,30.0,31.0", "4,40.0,", "5,nan,"]
    assert again.path.read_text().splitlines() == expected
    found = curves(read_run(tmp_path).scalars)
    assert found["b"][0].tolist() == [2, 3] and found["b"][1].tolist() == [2, 31]

    new = CSVRows(tmp_path, resume=False)
    new.log_metrics({"c": 1}, 1)
    new.save()
    assert new.path.read_text().splitlines() == ["step,c", "1,1.0"]


def test_a_damaged_csv_file_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,a\n1,word\n")
    with pytest.raises(UserError, match=r"metrics\.csv' cannot be read"):
        read_rows(tmp_path / "metrics.csv")


def record_log(records):
    """Records as LevelDB's log holds them, cut into blocks."""
    content = bytearray(b":W&B\0\0\0")
    for record in records:
        first = True
        while record or first:
            left = 32768 - len(content) % 32768
            if left < 7:
                content += bytes(left)
                continue
            part, record = record[: left - 7], record[left - 7 :]
            kind = (1 if not record else 2) if first else (4 if not record else 3)
            content += bytes(4) + struct.pack("<HB", len(part), kind) + part
            first = False
    return bytes(content)


def test_records_are_put_together_from_blocks_and_half_written_ones_left_out():
    records = [b"a" * 10, b"b" * 100_000, b"c" * (32768 - 17 - 7 - 7 - 3), b"", b"d" * 50]
    content = record_log(records)
    assert list(messages(content)) == records
    for cut in (1, 30, 56):
        assert list(messages(content[:-cut])) == records[:-1]
    assert list(messages(b":W&B\0\0\0")) == list(messages(b"")) == []


def test_a_damaged_file_of_wandb_is_named(tmp_path):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(record_log([b"\xff" * 20]))
    with pytest.raises(UserError, match=r"run-x\.wandb' cannot be read"):
        read_wandb([path], "step")
