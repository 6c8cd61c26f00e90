"""Names of ours in the tables for users of other libraries are settings, classes and tags."""

import inspect
import re
from functools import cache

import pytest
import yaml
from doc_blocks import DOCS, ROOT, is_documented
from lightning.pytorch import Trainer

from fgexpo.catalogue import find_slots, object_setting, read_catalogue

PAGES = [DOCS / "coming_from_trl.md", DOCS / "coming_from_verl.md"]
# Keys of the command line beside the slots.
OWN = ("steps", "budget", "ckpt_path")
LITERAL = re.compile(r"`([^`]+)`")


def rows(page, heading):
    """The cells of a table under a heading, without its head."""
    text = page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def slots_by_key():
    return {slot.key: slot for slot in find_slots(read_catalogue())}


@cache
def kinds(key):
    return slots_by_key()[key].kinds(read_catalogue())


def setting_exists(key):
    """Whether a class that can stand at the head of a dotted key has its last part as a setting."""
    catalogue, slots = read_catalogue(), slots_by_key()
    head, _, name = key.rpartition(".")
    if key in slots or key in OWN:
        return True
    if head == "trainer":
        return name in inspect.signature(Trainer.__init__).parameters
    owners = list(kinds(head)) if head in slots else []
    if not owners:  # a setting of an object that has no choice, such as model.sampling
        above, _, last = head.rpartition(".")
        for kind in kinds(above) if above in slots else []:
            for setting in catalogue.settings(kind.path):
                if setting.name == last and (path := object_setting(catalogue, setting)):
                    owners.append(catalogue.classes[path])
    return any(name in {s.name for s in catalogue.settings(owner.path)} for owner in owners)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_settings_exist(page):
    table = rows(page, "Settings")
    assert len(table) > 30
    for theirs, ours, _ in table:
        for name in LITERAL.findall(ours):
            assert setting_exists(name), (theirs, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_classes_and_values_in_the_remarks_exist(page):
    catalogue = read_catalogue()
    for theirs, ours, remark in rows(page, "Settings"):
        for name in LITERAL.findall(remark):
            if re.fullmatch(r"[A-Z][A-Za-z0-9]+", name):
                assert catalogue.named(name), (theirs, ours, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_metrics_are_in_the_table_of_tags(page):
    for theirs, ours, _ in rows(page, "Metrics"):
        for name in LITERAL.findall(theirs if ours == "the same" else ours):
            assert is_documented(name) or name.endswith("*"), (theirs, name)


def test_a_name_that_does_not_exist_would_be_found():
    assert setting_exists("model.sampling.top_k") and setting_exists("trainer.devices")
    for name in ("model.betas", "trainer.device", "model.sampling.topk", "model.loss.epsilon"):
        assert not setting_exists(name)


def test_the_citation_names_the_paper_and_the_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found["version"] == version[1]
    paper = found["references"][0]
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:2605.11403"}]
    assert paper["title"] in (DOCS / "../CITATION.cff").read_text()
