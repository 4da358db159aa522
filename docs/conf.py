"""How Sphinx makes the site from the Markdown documents: `make site`."""

from __future__ import annotations

project = "efishim"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

man_pages: list[tuple[str, str, str, list[str], int]] = [
    ("reference/cli", "efishim", "boot one x86 kernel through every entry point, and diff what it sees", [], 1),
    ("reference/record", "efishim-record", "the record of a run", [], 5),
]

html_theme = "furo"
html_title = "efishim"
html_copy_source = False
html_show_copyright = False
