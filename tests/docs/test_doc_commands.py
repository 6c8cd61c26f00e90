"""Every command and configuration in the documentation is accepted by the real parsers."""

import re

import pytest
from doc_blocks import DOCS, PAGES, blocks, commands, page_id
from doc_commands import Job, check, config_file, job_of, joined, read
from processes import start, wait

from fgexpo.errors import UserError

TINY = config_file("tiny")


def test_every_command_and_configuration_is_accepted(tmp_path):
    (tmp_path / "folder").mkdir()
    process = start(check, tmp_path / "folder", log=tmp_path / "log")
    codes = wait([process])
    said = (tmp_path / "log").read_text()
    assert codes == [0], said
    assert int(re.search(r"(\d+) parses, 0 faults", said)[1]) > 15


def test_wrong_commands_would_be_found():
    for words in (["fgexpo", "options", "model.lose"], ["fgexpo", "fitt", "--config", "tiny"]):
        with pytest.raises(UserError, match=r"did you mean"):
            read(words, {}, "here")
    for words in (["make", "tea"], ["python", "benchmarks/none.py"], ["fit", "--config", "tiny"]):
        with pytest.raises(AssertionError, match="no such"):
            read(words, {}, "here")


def test_commands_are_joined_only_where_they_set_different_things():
    jobs = [
        job_of("fit", ["--config", "tiny", "--akl=null"], "a"),
        job_of("fit", ["--config=tiny", "--akl.rho=Linear", "--steps", "3"], "b"),
        job_of("fit", ["--config", "tiny", "--steps=2"], "c"),
        job_of("test", ["--config", "tiny"], "d"),
        job_of("fit", ["--config", "configs/tiny.yaml"], "e"),
    ]
    assert [job.arguments for job in joined(jobs)] == [
        ["fit", "--config", TINY, "--akl=null", "--steps=2"],
        ["fit", "--config", TINY, "--akl.rho=Linear", "--steps", "3"],
        ["test", "--config", TINY],
    ]
    assert isinstance(jobs[0], Job) and jobs[0].places == ["a", "c", "e"]


def test_every_page_with_code_is_looked_at():
    found = {page_id(page): len(commands(page)) for page in PAGES if blocks(page, "bash")}
    assert found.keys() >= {"README.md", "docs/commands.md", "docs/start.md", "docs/vllm.md"}
    assert found.keys() >= {page_id(page) for page in DOCS.glob("howto/*.md")}
    assert sum(found.values()) > 80
