"""Every test that docs/promises.md names exists."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/promises.md").read_text()
NAMED = re.findall(r"`((?:src|tests)/[\w./]+)::([\w:]+)`", PAGE)
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!promise \||---)", line)]


def rust_tests(text):
    """Names of functions with #[test] among their attributes, in proptest! too."""
    return set(re.findall(r"#\[test\]\s*(?:#\[[^\n]*\]\s*|//[^\n]*\s*)*fn (\w+)\(", text))


def python_tests(text):
    """Names of tests, of classes of tests, and of tests in those."""
    names = set()
    for node in ast.parse(text).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name, body=body):
                names.add(name)
                names |= {f"{name}::{inner.name}" for inner in body if isinstance(inner, ast.FunctionDef)}
            case ast.Assign(targets=[ast.Name(id=name)]):
                names.add(name)  # of a state machine
    return {name for name in names if name.startswith(("test", "Test"))}


def test_promises_are_named_with_their_tests():
    assert len(NAMED) > 100


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_exists(file, test):
    text = (ROOT / file).read_text()
    assert test in (rust_tests(text) if file.endswith(".rs") else python_tests(text))


def test_every_row_names_a_test_or_says_how():
    assert ROWS
    assert all("::" in row or "](" in row for row in ROWS)


def test_no_promise_is_written_twice():
    promises = [row.split("|")[1].strip() for row in ROWS]
    assert [promise for promise, count in Counter(promises).items() if count > 1] == []
