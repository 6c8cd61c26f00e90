"""What the host does in a step, measured on a tiny one: every part is there, before and now."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import host
from host_work import Size

DOCS = Path(__file__).parents[2] / "docs" / "performance.md"


def test_a_tiny_step_has_every_part_of_the_documented_table(capsys):
    assert host.main(Size(questions=4, group=2, tokens=24, processes=2)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("8 rollouts of up to 24 tokens; exchange between 2 processes\n")
    found, documented = names(printed), names(DOCS.read_text().partition("host.py`")[2])
    assert len(found) == 10 and documented[: len(found)] == found
    numbers = [float(number) for number in re.findall(r"\d+\.\d{3}", printed)]
    assert len(numbers) == 17 and all(number >= 0 for number in numbers)


def names(text):
    return re.findall(r"^\| (.+?) \| [\dt]", text, re.MULTILINE)
