"""Pages, docstrings and messages use the words of the field, and name who acts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pages import ROOT

# Not the words on the left, as patterns, but those on the right.
INSTEAD = {
    r"(any|some|no)body|who(so)?ever": "the thread, the process, the caller",
    r"look(s|ed|ing) at": "inspect, visit, read, use",
    r"let(s|ting)? go( of)?": "release, drop",
    r"out of step": "a bad length; bytes that are consumed already",
    r"furnish(ed|es)?": "initialise",
    r"can(not)? be told": "evict entries whose call failed",
    r"stretches": "runs (of memory)",
    r"in the midst": "within, during",
    r"cut short": "truncated",
    r"homeless|stain(ed|s)?|spoilt": "unplaced, reused, uncacheable",
    r"eras?": "epoch",
    r"breathes?|mourns?": "check signals; handle SIGCHLD",
}
WORDS = re.compile(
    "|".join(rf"(?P<_{at}>\b(?:{words})\b)" for at, words in enumerate(INSTEAD)), re.IGNORECASE
)

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PYTHON = [path for end in ("py", "pyi") for path in (ROOT / "python").rglob(f"*.{end}")]
RUST = [path for path in (ROOT / "src").rglob("*.rs") if not path.stem.endswith("tests")]


def prose_of(path: Path) -> Iterator[str]:
    """What a reader sees of a file: a page without code and links, docstrings and messages of a module."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield re.sub(r"^```.*?^```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL | re.MULTILINE)
    elif path.suffix == ".rs":
        code = re.sub(r"^\s*//.*$", "", text.split("#[cfg(test)]")[0], flags=re.MULTILINE)
        yield from re.findall(r'"((?:[^"\\\n]|\\.)*)"', code)
    else:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("paths", [PAGES, PYTHON, RUST], ids=["pages", "python", "rust"])
def test_words_are_those_of_the_field(paths):
    wrong = [
        f"{path.relative_to(ROOT)}: say {list(INSTEAD.values())[int(str(found.lastgroup)[1:])]},"
        f" not {found[0]!r}, in {prose[max(0, found.start() - 60) : found.end() + 40]!r}"
        for path in paths
        for prose in prose_of(path)
        for found in WORDS.finditer(prose)
    ]
    assert not wrong, "\n".join(wrong)
