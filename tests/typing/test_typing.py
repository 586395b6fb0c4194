"""The file of typical uses, which type checkers read in the lint step, runs as it claims."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

USES = Path(__file__).with_name("uses.py")


def test_typical_uses_run(tmp_path):
    runpy.run_path(str(USES))["main"](tmp_path)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="collections.abc.Buffer is of 3.12")
def test_blocks_are_buffers(group):
    from collections import abc

    buffer = getattr(abc, "Buffer")  # noqa: B009  (which checkers that are told 3.11 do not know)
    assert isinstance(group.alloc(1), buffer)
