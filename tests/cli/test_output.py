"""What is printed must not end a run: closed pipes, closed files, a full disk."""

import io
import os
import subprocess
import sys

import pytest

from fgexpo.cli.output import forgiving

# Prints through print, rich and logging, and at the end says what it came to.
PROGRAM = """
import logging, os, sys
from fgexpo.cli.output import keep_going_without_output
keep_going_without_output()
from rich.console import Console
logging.basicConfig()
for i in range(2000):
    print("a line", flush=True)
    Console().print("a [b]line[/b]")
    logging.warning("a line")
with open(sys.argv[1], "w") as file:
    file.write("the end")
print("more")
"""


def program(tmp_path, shell):
    end = tmp_path / "end"
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} program.py {end} {shell}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, end.read_text() if end.exists() else None


def test_a_closed_pipe_ends_nothing(tmp_path):
    for shell in ("2>&1 | head -n 1", "| head -n 1", "2>&1 >/dev/full", ">&- 2>&-", "<&- >&- 2>&-"):
        done, end = program(tmp_path, shell)
        assert done.returncode == 0, (shell, done.stderr[-1000:])
        assert end == "the end", shell
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, shell
        (tmp_path / "end").unlink()


def test_what_can_be_written_is_written_as_before(tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        stream = forgiving(file)
        stream.write("ä\n")
        stream.flush()
    assert (tmp_path / "out").read_bytes() == "ä\n".encode()
    assert isinstance(stream, io.TextIOWrapper) and stream.encoding == "utf-8"


def test_after_a_closed_pipe_the_file_descriptor_leads_nowhere():
    reader, writer = os.pipe()
    stream = forgiving(open(writer, "w", encoding="utf-8"))  # noqa: SIM115
    os.close(reader)
    stream.write("lost\n")
    stream.flush()
    assert os.write(writer, b"what another library prints") == 27


@pytest.mark.slow  # a whole program, that trains
def test_training_goes_on_when_its_output_is_closed(model_folder, tmp_path):
    from test_cli import tiny

    flags = " ".join(tiny(model_folder)).replace("[", r"\[")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m fgexpo fit {flags} 2>&1 | head -n 1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "runs/tiny/version_0/checkpoints/step=000002.ckpt").is_file()
