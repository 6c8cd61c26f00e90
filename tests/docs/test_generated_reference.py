"""The reference pages of the site say what the code says; the site itself is built by make docs."""

import re
import sys

import pytest
from doc_blocks import DOCS

from fgexpo.catalogue import find_slots, read_catalogue

sys.path.insert(0, str(DOCS))
import generated

PAGES = ("model", "data", "callbacks")


@pytest.fixture(scope="module")
def pages():
    return {name: generated.options_page(name) for name in PAGES}


def test_every_slot_class_and_setting_is_on_a_page(pages):
    catalogue = read_catalogue()
    for slot in find_slots(catalogue):
        page = pages[slot.key.split(".")[0] if slot.key.split(".")[0] in pages else "callbacks"]
        heads = [line for line in page.splitlines() if line.startswith("## ")]
        assert any(f"`{slot.key}`" in head for head in heads), slot.key
        for kind in slot.kinds(catalogue):
            section = page.split(f"### {kind.name}\n")[1].split("\n##")[0]
            for setting in catalogue.settings(kind.path):
                assert f"| `{setting.name}` |" in section, (kind.name, setting.name)


def test_a_row_has_default_type_and_meaning_as_yaml_has_them(pages):
    model, data = pages["model"], pages["data"]
    assert "| `kl_coef` | `0.02` | `float` beta, the base KL coefficient" in model
    assert "| `advantage_scale` | `'group'` | `Literal['group', 'batch', 'none']` divide" in model
    assert "| `mini_batch_questions` | `null` | `int \\| null` questions" in model
    assert "## `model.evaluation.sampling`, " in model or "`model.evaluation.sampling`" in model
    assert "| `max_new_tokens` | `1024` | `int` limit on a completion's tokens" in model
    assert "| `train` | *required* | `QuestionSource` the pool" in data
    assert not re.search(r":\w+:`|``", model + data + pages["callbacks"])


def test_every_reference_page_has_its_mark():
    found = {path.stem: path.read_text() for path in (DOCS / "reference").glob("*.md")}
    assert {name for name in PAGES if f"<!-- options: {name} -->" in found[name]} == set(PAGES)
    assert "<!-- help -->" in found["commands"]


def test_links_out_of_the_folder_lead_into_the_site():
    given = "[a](../README.md#data) [b](../../README.md) [c](../fgexpo/errors.py) [d](x.md)"
    assert generated.fill_in(given) == "[a](readme.md#data) [b](../readme.md) `c` [d](x.md)"
    top = "[a](docs/method.md#x) [b](CONTRIBUTING.md) [c](https://docs/x)"
    assert (
        generated.from_the_top(top) == "[a](method.md#x) [b](contributing.md) [c](https://docs/x)"
    )
    assert generated.fill_in("<!-- include: CHANGELOG.md -->").startswith("# Changelog")
