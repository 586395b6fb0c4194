"""Additions of the site to docs/: pages at the root of the repository, links to them, and the notebook.

`mkdocs build --strict` calls the functions below; mkdocs.yml names this file.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

import notebook
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent

# Where a reader of the site finds what a reader of the repository finds at its root.
MOVED = {
    "BENCHMARKS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
}

# The words behind the language of a fence are for the suite.
_FENCE = re.compile(r"^( *```\w+) .*$", re.MULTILINE)

# Where names that are longer than 30 characters may break.
_LONG_CODE = re.compile(r"(?<=<code>)[^<\s]{31,}(?=</code>)")
_JOINT = re.compile(r"(::|[/_.,(-])(?=.)")

# Output, and the sign of a layout in columns: words far apart, apart from a label that begins a line.
_OUTPUT = re.compile(r'<div class="language-text (?=highlight">(.*?)</div>)', re.DOTALL)
_COLUMNS = re.compile(r"^(?!  \w+  ).*\S  +\S|^  \w+  +.*\S  +\S|[\u2500-\u25ff]", re.MULTILINE)

_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and that of the notebook."""
    for name, page in MOVED.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text, name, page)))
    tour = f"{notebook.markdown(notebook.read())}\nThis page is a notebook: [download it](tour.ipynb).\n"
    files.append(File.generated(config, "tour.md", content=tour))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links out of docs/ lead to the pages that stand for what is there."""
    here = page.file.src_uri
    markdown = _FENCE.sub(r"\1", markdown)
    return markdown if here in MOVED.values() else _relinked(markdown, f"docs/{here}", here)


def on_page_content(html: str, **_: object) -> str:
    """Let long names break between their parts, and output without columns between words."""
    html = _OUTPUT.sub(lambda output: output[0] + ("" if _COLUMNS.search(output[1]) else "prose "), html)
    return _LONG_CODE.sub(lambda code: _JOINT.sub(r"\1<wbr>", code[0]), html)


def _relinked(text: str, source: str, page: str) -> str:
    """`text` of a file of the repository with the links that a page of the site has instead."""

    def relink(match: re.Match[str]) -> str:
        before, target, behind = match.groups()
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = MOVED.get(file) or file.removeprefix("docs/")
        if there == file:  # it is not on the site
            return match[0]
        return f"{before}{posixpath.relpath(there, posixpath.dirname(page) or '.')}{behind}"

    return _LINK.sub(relink, text)
