"""docs/study.md says what the code does: its keys, its examples, its commands."""

import re
import shlex
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from fgexpo.cli import main
from fgexpo.cli.study import with_flags
from fgexpo.cli.study_arguments import cores, page, read_arguments
from fgexpo.errors import UserError
from fgexpo.study.lines import known_keys
from fgexpo.study.read_spec import read_study
from fgexpo.study.spec import Arm, Bases, Slurm, Study, Tuning

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "study.md").read_text()
PARTS = {"": Study, "arms.NAME.": Arm, "bases.": Bases, "tune.": Tuning, "slurm.": Slurm}


def meanings(kind):
    """What a dataclass's docstring says of each of its attributes, in one line."""
    _, _, text = kind.__doc__.partition("Attributes:")
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", text, re.MULTILINE)
    return {name: " ".join(said.replace("``", "`").split()) for name, said in found}


def default(each):
    if each.default_factory is not MISSING:
        made = each.default_factory()
        return "" if is_dataclass(made) else f"`{made}`"
    if each.default is MISSING:
        return "required"
    return "`null`" if each.default is None else f"`{each.default}`" if each.default != "" else ""


def rows():
    for prefix, kind in PARTS.items():
        said = meanings(kind)
        for each in fields(kind):
            yield f"| `{prefix}{each.name}` | {default(each)} | {said[each.name]} |"


def test_the_page_lists_every_key():
    table = PAGE.partition("## Keys")[2].partition("\n## ")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == list(rows())
    assert known_keys(()) == [each.name for each in fields(Study)]
    assert known_keys(("arms", "any")) == [each.name for each in fields(Arm)]
    assert known_keys(("tune",)) == [each.name for each in fields(Tuning)]
    assert known_keys(("points", "any")) is None and known_keys(("settings",)) is None


def test_the_page_and_the_command_print_the_same_example(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "--example"]) == 0
    printed = capsys.readouterr().out
    three, example, cluster = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert printed == example and len(three.splitlines()) == 3
    for text in (three, example, three + cluster):
        Path("my.yaml").write_text(text)
        assert list(read_study("my.yaml").arms) == ["grpo", "fg_expo"]
    flags = with_flags(
        read_study("my.yaml"), read_arguments(["my.yaml", "--slurm.extra", "qos=low"])
    )
    assert flags.launcher == "slurm" and flags.slurm.extra == {"account": "me", "qos": "low"}


def test_every_command_of_the_page_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").touch()
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("fgexpo ")]
    assert len(commands) == 5
    for _, command, *rest in commands:
        assert command == "study"
        if "--example" not in rest:
            assert Path(read_arguments(rest).study).is_file()
    found = read_arguments(rest)
    assert found.launcher == "slurm" and getattr(found, "slurm.extra") == [("account", "me")]


def test_help_is_a_screen_and_names_every_option(capsys):
    assert main(["study", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown == f"{page()}\n"
    assert len(shown.splitlines()) <= 40 and max(map(len, shown.splitlines())) <= 100
    options = {"--example", "--jobs", "--report", "--table", "--launcher"}
    options |= {f"--slurm.{each.name}" for each in fields(Slurm)}
    assert set(re.findall(r"^  (--[\w.]+)", shown, re.MULTILINE)) == options
    assert f"its cores, {cores()}" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["levrs"], "did you mean studies/levers?"),
        (["nothing-like-it"], "there are studies/ablation, "),
        (["ablation", "--job=2"], "there is no option --job; did you mean --jobs?"),
        (["ablation", "--slurm.minutes=2h"], "--slurm.minutes: expected a whole number, got '2h'"),
        (["ablation", "--slurm.extra=me"], "--slurm.extra must be an option of sbatch"),
        (["ablation", "--jobs=0"], "--jobs must be at least 1, got 0"),
        (["ablation", "--jobs"], "--jobs: expected one argument"),
        (["ablation", "--launcher=pbs"], "invalid choice: 'pbs'"),
    ],
)
def test_arguments_are_refused_in_a_sentence(arguments, words):
    with pytest.raises(UserError) as refused:
        read_arguments(arguments)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_flags_out_of_range_are_refused():
    given = read_arguments(["example", "--slurm.minutes=2"])
    with pytest.raises(UserError, match=r"--slurm.minutes must be at least 5, got 2"):
        with_flags(read_study(given.study), given)
