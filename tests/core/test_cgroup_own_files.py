"""A memory cgroup in which the program's own files are cached, as in a container.

The kernel then evicts the interpreter's code before it kills, and code that is in use is read again: such
page cache does not make room.
"""

from __future__ import annotations

import os

import pytest
from support import interpreters
from support.cgroups import KINDS, LIMIT, MANY


@pytest.mark.parametrize("options", [{"huge_pages": False}, {"base": 2 << 20}, {"secret": True}], ids=str)
@pytest.mark.parametrize(("backing", "runs"), [("memfd", 20), ("anonymous", 20)])
def test_no_run_is_killed_where_the_interpreter_is_cached_in_the_cgroup(
    cgroup, tmp_path, backing, runs, options
):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(700_000))
    interpreter = interpreters.copied(tmp_path)
    ended = cgroup.run_with(interpreter, MANY, source, runs, backing, options, *KINDS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.strip() == str([0] * runs)
    assert int((cgroup.directory / cgroup.peak).read_text()) > LIMIT * 3 // 4
