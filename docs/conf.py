"""The site's settings (`make docs`). Its reference pages are filled in from the code here.

A reference page in this folder holds marks such as ``<!-- options: model -->``. When the site is
built, each mark becomes text made by :mod:`generated`, so nothing of it is kept by hand.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated

from fgexpo import __version__

project = "FG-ExPO"
author = "fgexpo developers"
copyright = "fgexpo developers, MIT licence"
version = release = __version__

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns = ["_build"]
nitpicky = True
suppress_warnings = ["myst.strikethrough"]

# A heading's anchor is what GitHub makes of it, so that one link serves both.
myst_heading_anchors = 4
myst_enable_extensions = ["smartquotes"]

html_theme = "furo"
html_title = f"FG-ExPO {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True


def setup(app: object) -> None:
    """Have marks filled in as each page is read."""
    app.connect("source-read", _fill_in)  # pyright: ignore[reportAttributeAccessIssue]


def _fill_in(app: object, name: str, source: list[str]) -> None:
    source[0] = generated.fill_in(source[0])
