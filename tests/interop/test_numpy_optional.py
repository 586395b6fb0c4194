"""The library without numpy, and numpy's own tests within a group."""

from __future__ import annotations

import contextvars
import gc
import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from support.arrays import IS_TWO

np = pytest.importorskip("numpy")

# numpy is optional


def test_the_import_pulls_no_numpy_in(child):
    assert (
        child.output("""
        group = MemGroup()
        group.protect(memoryview(group.copy(b"abc")))
        assert outcome(group.protect, 5).startswith("TypeError")
        5 in group
        print("numpy" in sys.modules)
    """)
        == "False"
    )


def test_without_numpy_the_error_names_what_to_install(child):
    code = """
        sys.modules["numpy"] = None
        group = MemGroup()
        for work in (lambda: group.empty(3), lambda: group.zeros(3), lambda: group.full(3, 1),
                     lambda: group.array([1]), group.numpy):
            print(outcome(work))
        print(bytes(group.copy(b"still works")))
    """
    lines = child.output(code).splitlines()
    assert lines[:-1] == ["ImportError: numpy is not installed: pip install numpy"] * 5
    assert lines[-1] == "b'still works'"


def test_an_error_while_importing_numpy_is_passed_on(child):
    output = child.output("""
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "numpy":
                    raise RuntimeError("broken numpy")
        sys.meta_path.insert(0, Broken())
        print(outcome(MemGroup().empty, 3))
    """)
    assert output == "RuntimeError: broken numpy"


@pytest.mark.skipif(not IS_TWO, reason="its tests are elsewhere")
def test_a_part_of_numpys_own_tests_passes_in_a_group(tmp_path):
    """All of them: `python tests/support/numpy_suite.py`."""
    script, place = Path(__file__).parents[1] / "support/numpy_suite.py", tmp_path / "outcomes.json"
    parts = [
        Path(np.__file__).parent / "lib" / "tests" / f"test_{part}.py"
        for part in ("stride_tricks", "shape_base")
    ]
    ended = subprocess.run(
        [sys.executable, script, "--within", place, *parts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    ran = json.loads(place.read_text())
    assert ran["code"] == 0, ended.stdout
    assert ran["allocated"] > 60


def test_a_block_that_is_never_left_is_no_warning(group):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context = group.numpy()
        contextvars.copy_context().run(context.__enter__)
        del context
        gc.collect()
