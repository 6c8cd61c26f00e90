"""Pages, links, anchors, files and names in the documentation lead to something."""

import re

import pytest
from doc_blocks import DOCS, PAGES, ROOT, page_id

FOLDERS = "fgexpo|configs|docs|datamodules|callbacks|notebooks|benchmarks|tests"
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def slugs(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_file_it_names_exists(page):
    named = set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w", page.read_text()))
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_to_a_page_and_a_heading(page):
    for target in re.findall(r"\]\((?!http)([^)]+)\)", FENCE.sub("", page.read_text())):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        if path == DOCS / "readme.md":  # the site's copy
            path = ROOT / "README.md"
        assert path.exists(), target
        assert not anchor or anchor in slugs(path), target


def test_the_index_leads_to_every_page():
    listed = []
    for tree in re.findall(
        r"^```\{toctree\}\n(.*?)^```$", (DOCS / "index.md").read_text(), re.MULTILINE | re.DOTALL
    ):
        lines = [line for line in tree.splitlines() if line and not line.startswith(":")]
        listed += [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES if DOCS in path.parents
    }
    assert sorted(listed) == sorted(pages - {"index"})
