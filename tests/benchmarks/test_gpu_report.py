"""The GPU check's command line and report: its faults, its limits, and that it loses nothing."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu_check
from gpu import process
from gpu.report import Note, Row, Section, above, below, keep, render
from gpu_check import Part

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
CPU = ["--device", "cpu", "--shape", "tiny"]


def fine(setting):
    yield Note("all is well")


def broken(setting):
    yield Row("Numbers", {"what": "before", "value": "42"})
    raise ValueError("first line\nof the fault")


def dead(setting):
    yield Note("last words")
    os._exit(7)


def hanging(setting):
    yield Note(f"started {subprocess.Popen(['sleep', '600']).pid};")
    time.sleep(600)


def failing(setting):
    yield below("error", 2.0, 1.0, "because")


def test_no_section_stops_another_and_what_was_found_before_stays(tmp_path, monkeypatch):
    states = []
    write = lambda *given: states.append(render(*given)) or states[-1]  # noqa: E731
    monkeypatch.setattr(gpu_check.report, "render", write)
    out = tmp_path / "gpu.md"
    parts = {
        one.__name__: Part(f"Title of {one.__name__}", one, 60.0)
        for one in (broken, dead, hanging, failing, fine)
    }
    # The limit is passed as soon as the section hangs, and not before.
    passed = lambda: 1e6 * sum("started " in text for text in states)  # noqa: E731
    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=passed))
    assert gpu_check.main([*CPU, "--out", str(out)], parts) == 1
    text = out.read_text()
    assert "| before | 42 |" in text and "`ValueError: first line`" in text
    assert "last words" in text and "the process died, exit status 7" in text
    assert "not done within its time limit" in text
    [started] = re.findall("started ([0-9]+);", text)
    # Gone, or dead and waiting for a parent to ask.
    status = Path(f"/proc/{started}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()
    # It was in the file while its section still ran.
    assert any("| Title of broken | running |" in s and "| before | 42 |" in s for s in states)
    assert "| Title of failing | **a check failed** |" in text
    assert "| Title of fine | done |" in text and "- all is well" in text


def test_the_exit_status_is_1_for_a_check_or_an_error_alone(tmp_path):
    out = ["--out", str(tmp_path / "gpu.md")]
    for section, expected in ((fine, 0), (broken, 1), (failing, 1)):
        assert gpu_check.main([*CPU, *out], {"only": Part("Only", section, 60.0)}) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "torch sees no CUDA GPU here"),
        (["--shape", "tiny"], "torch sees no CUDA GPU here"),
        (CPU, "only a whole run on a GPU may replace docs/gpu.md"),
        ([*CPU, "--sections", "nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_what_cannot_be_measured_ends_with_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu_check.main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_part_of_the_sections_does_not_replace_a_whole_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    whole = gpu_check._parse([], gpu_check.PARTS)
    assert whole.out.endswith("docs/gpu.md") and whole.sections == list(gpu_check.PARTS)
    with pytest.raises(SystemExit):
        gpu_check._parse(["--sections", "parity"], gpu_check.PARTS)
    added = gpu_check._parse(["--sections", "parity", "--add"], gpu_check.PARTS)
    assert added.out == whole.out and added.sections == ["parity"]


def test_ten_minutes_hold_all_that_one_gpu_shows():
    one = [part for name, part in gpu_check.PARTS.items() if name not in gpu_check.SECOND_GPU]
    assert sum(part.limit for part in one) <= 600
    assert all(0 < part.expected < part.limit for part in one)


def test_what_a_section_leaves_goes_to_the_next(tmp_path, monkeypatch):
    limits = []

    def run(section, work, setting, limit):
        limits.append(round(limit))
        section.state = "done"
        yield

    monkeypatch.setattr(process, "run", run)
    parts = {name: Part(name, fine, 60.0) for name in ("one", "two", "three")}
    out = ["--out", str(tmp_path / "gpu.md"), "--sections", "three", "one"]
    assert gpu_check.main([*CPU, *out], parts) == 0
    assert limits == [600, 1200]  # ten times as long on a CPU


def here(section, work, setting, limit):
    """``process.run`` without a process."""
    try:
        section.findings += list(work(setting))
        section.state = "done"
    except ValueError as error:
        section.state, section.error = "failed", f"ValueError: {error}"
    yield


def test_two_calls_fill_one_report(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "run", here)
    parts = {one.__name__: Part(one.__name__.title(), one, 60.0) for one in (fine, broken, failing)}
    out = tmp_path / "gpu.md"
    given = [*CPU, "--out", str(out), "--sections"]
    assert gpu_check.main([*given, "fine", "broken"], parts) == 1
    before = out.read_text()
    assert "| Failing | left out |" in before
    # What is measured now decides on the status; what was there stays, with when and on what.
    assert gpu_check.main([*given, "fine", "--add"], parts) == 0
    again = out.read_text()
    assert re.search(r"\| Broken \| \*\*failed\*\*: ValueError.* UTC, .*, a CPU \|", again)
    assert again.split("## Broken")[1] == before.split("## Broken")[1]
    assert gpu_check.main([*given, "failing", "--add"], parts) == 1
    whole = out.read_text()
    assert "- all is well" in whole and "## Broken" in whole and "**FAILED**" in whole
    with pytest.raises(SystemExit):
        gpu_check.main([*CPU, "--add", "--out", str(tmp_path / "none.md")], parts)


def test_the_documented_commands_are_understood(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.chdir(tmp_path)
    Path("gpu.md").touch()
    written = re.findall(r"benchmarks/gpu_check\.py(.*)$", CONTRIBUTING.read_text(), re.MULTILINE)
    parsed = [gpu_check._parse(shlex.split(text), gpu_check.PARTS) for text in written]
    assert len(parsed) == 3 and parsed[0].sections == list(gpu_check.PARTS)
    assert {*parsed[1].sections, *parsed[2].sections, "server"} == set(gpu_check.PARTS)


def test_an_unfinished_section_is_kept_too():
    running = Section("B", "running", [Row("t", {"a": "1"})], "", 3, "then")
    text = render(["h"], [Section("A", "done", [], "", 1), running, Section("C", "left out")])
    kept = [Section("A"), Section("B"), Section("C")]
    for section in kept:
        keep(section, text)
    assert [section.state for section in kept] == ["done", "running", "waiting"]
    assert (kept[1].measured, kept[1].seconds) == ("then", 3.0) and "| 1 |" in kept[1].kept


def test_a_report_in_the_making():
    checked = Section("B", "done", [below("b", 1, 2, "why"), above("c", 1, 2, "why")], "", 3)
    text = render(["Heading."], [Section("A"), checked, Section("C", "left out")])
    assert "| A | waiting | 0 |" in text and "| B | **a check failed** | 3 |" in text
    assert "| b | 1 | at most 2: why | passed |" in text and "| **FAILED** |" in text
    assert "Not measured (left out)." in text
    assert not checked.fine and not Section("A").fine and Section("C", "left out").fine
    assert not below("nan", float("nan"), 1, "").passed
    assert not above("nan", float("nan"), 1, "").passed
