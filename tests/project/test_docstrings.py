"""The docstrings of the compiled classes and functions are those of the stubs, word for word."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from memgroup import _memgroup as compiled

STUBS = Path(compiled.__file__).with_name("_memgroup")

# Python has its own docstrings for special methods.
Documented = ast.ClassDef | ast.FunctionDef


def documented(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, str]]:
    """The name and the docstring of everything that the stubs document."""
    for node in body:
        if isinstance(node, Documented):
            name = f"{inside}{node.name}"
            said = ast.get_docstring(node)
            if said and not node.name.startswith("__"):
                yield name, said
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, f"{name}.")


def named(name: str) -> object:
    found: object = compiled
    for part in name.split("."):
        found = getattr(found, part)
    return found


DOCSTRINGS = [
    one
    for stub in sorted(STUBS.glob("*.pyi"))
    for one in documented(ast.parse(stub.read_text(encoding="utf-8")).body)
]


def test_there_are_stubs():
    assert len(DOCSTRINGS) > 100


@pytest.mark.parametrize(("name", "said"), DOCSTRINGS)
def test_a_docstring_is_the_same_in_stub_and_class(name, said):
    assert (inspect.getdoc(named(name)) or "").split() == said.split()
