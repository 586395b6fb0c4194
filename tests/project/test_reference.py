"""The reference of the documentation has every public name."""

from __future__ import annotations

import importlib
import re

import pytest
from support.pages import ROOT

# Modules of which the reference shows all names at once, and those of which it names each.
MODULES = ("aio", "forkcost", "frames", "futures", "rmap")


def in_the_reference() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("module", ["memgroup", *(f"memgroup.{name}" for name in MODULES)])
def test_every_public_name_is_in_the_reference(module):
    text = in_the_reference()
    shown = set(re.findall(r"^::: (\S+)", text, re.MULTILINE))
    if module in shown:
        return
    names = (f"{module}.{name}" for name in importlib.import_module(module).__all__ if name != "__version__")
    assert [name for name in names if name not in shown and f"`{name}`" not in text] == []


def test_no_page_or_message_promises_an_index():
    """Extras of memgroup can be installed from a checkout; an index may not have it yet."""
    files = (*(ROOT / "docs").rglob("*.md"), *(ROOT / "python").rglob("*.py"), *(ROOT / "src").rglob("*.rs"))
    promise = re.compile(r"pip install \W*memgroup\b")
    assert [str(file) for file in files if promise.search(file.read_text(encoding="utf-8"))] == []
