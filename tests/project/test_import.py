"""Importing memgroup loads hardly any other module."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
before = set(sys.modules)
import memgroup
print(*sorted(set(sys.modules) - before))
"""


def test_importing_loads_next_to_nothing():
    said = subprocess.check_output([sys.executable, "-c", LOADED], text=True).split()
    assert {name.partition(".")[0] for name in said} <= {
        "memgroup",
        "__future__",
        "_contextvars",
        "contextvars",
    }


def test_the_stubs_beside_the_compiled_module_do_not_shadow_it():
    from memgroup import _memgroup

    assert _memgroup.__file__ is not None
    assert _memgroup.__file__.endswith(".so")
