from pathlib import Path

import pytest

from fgexpo.catalogue.shipped import find_config, find_configs, shipped_configs
from fgexpo.cli.typos import check_keys
from fgexpo.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_configuration_is_found_by_name():
    paths = {path.resolve() for path in shipped_configs().values()}
    assert paths == {path.resolve() for path in (ROOT / "configs").rglob("*.yaml")}
    tiny = str(shipped_configs()["tiny"])
    assert [find_config(name) for name in ("tiny", "tiny.yaml", "configs/tiny.yaml")] == [tiny] * 3
    assert find_config("recipes/dapo") == str(shipped_configs()["recipes/dapo"])
    assert find_config("my.yaml") == "my.yaml"


def test_a_path_still_means_a_path(tmp_path):
    (tmp_path / "tiny").write_text("steps: 1\n")
    assert find_config("tiny") == "tiny"


def test_command_lines_name_files():
    tiny = find_config("tiny")
    assert find_configs(["fit", "--config", "tiny", "--config=tiny", "--steps=2", "tiny"]) == [
        *("fit", "--config", tiny),
        *(f"--config={tiny}", "--steps=2", "tiny"),
    ]


def test_a_name_that_there_is_not(tmp_path):
    with pytest.raises(UserError) as found:
        check_keys(["--config=tinny.yaml"])
    assert str(found.value) == (
        f"--config: 'tinny.yaml' is neither a file, seen from {tmp_path}, nor the name of a "
        "configuration that comes with fgexpo; did you mean tiny?"
    )
