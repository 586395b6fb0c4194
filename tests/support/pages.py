"""The pages of the documentation, and the samples in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def fenced(page: Path, language: str) -> list[tuple[int, str]]:
    """The fences of a language, each with the number of lines before it."""
    text = page.read_text(encoding="utf-8")
    fences = re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, fence.start(1)), fence[1]) for fence in fences]
