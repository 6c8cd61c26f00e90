"""Files that a resumed run reads of its earlier starts."""

import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.loggers import MLFlowLogger
from mlflow.exceptions import MlflowException
from requests import ConnectionError as NoConnection

from fgexpo.errors import EnvironmentFailure, UserError
from fgexpo.figures.events import curves, read_run
from fgexpo.loggers import csv_rows
from fgexpo.loggers.csv_rows import CSVRows, read_rows
from fgexpo.loggers.fresh import fresh
from fgexpo.loggers.mlflow import MLflowPanelWriter, metric_name, spelling
from fgexpo.loggers.text_table import Table
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


class Failing:
    """A client of MLflow all of whose calls fail, unless there is an answer."""

    def __init__(self, error, **answers):
        self.error, self.answers, self.params = error, answers, []

    def __getattr__(self, name):
        def call(*_, params=(), **__):
            if name not in self.answers:
                raise self.error
            self.params += [param.key for param in params]
            return self.answers[name]

        return call


def mlflow_panels(monkeypatch, tmp_path, client):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setattr(MLFlowLogger, "experiment", client)
    return MLflowPanelWriter(MLFlowLogger(tracking_uri=tmp_path.as_uri(), run_id="1"))


@pytest.mark.parametrize("error", [MlflowException("503"), NoConnection("refused")])
def test_a_failing_server_of_mlflow_is_named_by_every_panel(error, monkeypatch, tmp_path):
    writer = mlflow_panels(monkeypatch, tmp_path, Failing(error))
    calls = (
        lambda: writer.image("a", np.zeros((2, 2, 3)), 1),
        lambda: writer.table("a", Table(["a"], [["b"]]), 1),
        lambda: writer.settings({"a": 1}, [], []),
    )
    for call in calls:
        with pytest.raises(EnvironmentFailure, match=r"MLflow at 'file:.* failed \("):
            call()


def test_a_setting_that_mlflow_has_is_not_sent_again(monkeypatch, tmp_path):
    known = SimpleNamespace(data=SimpleNamespace(params={"pass_at_8": "1"}))
    client = Failing(AssertionError(), get_run=known, log_batch=None)
    mlflow_panels(monkeypatch, tmp_path, client).settings({"pass@8": 2, "lr@": 3}, [], [])
    assert client.params == ["lr_at_"]


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


def test_csv_writes_only_the_newest_line_again(tmp_path, monkeypatch):
    rows = CSVRows(tmp_path, resume=True)
    rows.log_metrics({"ä": 1, "b": 1}, 1)
    rows.save()
    with monkeypatch.context() as patch:
        patch.setattr(csv_rows, "whole_file", None)  # the whole file is not written
        for step in range(2, 6):
            for values in ({"ä": 0.125}, {"b": step}, {"ä": 1}):
                rows.log_metrics(values, step)
                rows.save()
    expected = ["step,b,ä", "1,1.0,1.0", *(f"{step},{step}.0,1.0" for step in range(2, 6))]
    assert rows.path.read_text(encoding="utf-8").splitlines() == expected
    for step in (2, 5, 5):  # an older line, then the newest of the file written anew
        rows.log_metrics({"b": 9}, step)
        rows.save()
    rows.path.write_text("another's")
    rows.log_metrics({"b": 8}, 5)
    rows.save()
    expected[2], expected[5] = "2,9.0,1.0", "5,8.0,1.0"
    assert rows.path.read_text(encoding="utf-8").splitlines() == expected
    assert read_rows(rows.path) == rows.rows


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
            checksum = zlib.crc32(bytes([kind]) + part)
            content += struct.pack("<IHB", checksum, len(part), kind) + part
            first = False
    return bytes(content)


def test_records_are_put_together_from_blocks_and_half_written_ones_left_out():
    records = [b"a" * 10, b"b" * 100_000, b"c" * (32768 - 17 - 7 - 7 - 3), b"", b"d" * 50]
    content = record_log(records)
    assert list(messages(content)) == records
    for cut in (1, 30, 56):
        assert list(messages(content[:-cut])) == records[:-1]
    assert list(messages(b":W&B\0\0\0")) == list(messages(b"")) == []


@pytest.mark.parametrize("size", [50, 100_000])
def test_last_records_that_are_torn_at_full_length_are_left_out(size):
    records = [b"a" * 10, b"b" * 50, b"c" * size]
    content = bytearray(record_log(records))
    content[-3] ^= 1  # in the last record's last chunk
    assert list(messages(content)) == records[:2]
    content[7 + 7 + 10 + 7 + len(records[1]) + 7 + 5] ^= 1  # in its first
    assert list(messages(content)) == records[:2]
    content[7 + 7 + 10 + 7 + 5] ^= 1  # in the one before
    assert list(messages(content)) == records[:1]


def test_a_damaged_record_before_a_whole_one_is_refused(tmp_path):
    content = bytearray(record_log([b"a" * 10, b"b" * 50]))
    content[7 + 7 + 5] ^= 1
    (tmp_path / "run-x.wandb").write_bytes(content)
    with pytest.raises(UserError, match=r"run-x\.wandb' cannot be read.*checksum"):
        read_wandb([tmp_path / "run-x.wandb"], "step")


def test_a_damaged_file_of_wandb_is_named(tmp_path):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(record_log([b"\xff" * 20]))
    with pytest.raises(UserError, match=r"run-x\.wandb' cannot be read"):
        read_wandb([path], "step")
