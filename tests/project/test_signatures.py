"""`inspect.signature` and `inspect.getdoc` know every public class, method and function."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import pytest

MODULES = [
    "memgroup",
    "memgroup.aio",
    "memgroup.doctor",
    "memgroup.forkcost",
    "memgroup.frames",
    "memgroup.futures",
    "memgroup.rmap",
]

# Classes of the standard library, and a dict for type checkers.
OTHERS = {"memgroup.futures.BrokenProcessPool", "memgroup.frames.Format"}


def public(name: str, thing: object) -> Iterator[tuple[str, object]]:
    """A class or function, and the public methods of a class."""
    if not callable(thing) or name in OTHERS:
        return
    yield name, thing
    if inspect.isclass(thing):
        for member in vars(thing):
            if not member.startswith("_"):
                yield from public(f"{name}.{member}", getattr(thing, member))


PUBLIC = [
    one
    for name in MODULES
    for member in import_module(name).__all__
    for one in public(f"{name}.{member}", getattr(import_module(name), member))
]


def test_there_are_public_names():
    assert len(PUBLIC) > 100


@pytest.mark.parametrize(("name", "thing"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_a_public_name_has_a_signature_and_a_docstring(name, thing):
    assert isinstance(inspect.signature(thing), inspect.Signature)
    assert (inspect.getdoc(thing) or "").strip()


@pytest.mark.parametrize("module", MODULES)
def test_a_public_module_has_a_docstring(module):
    assert (import_module(module).__doc__ or "").strip()
