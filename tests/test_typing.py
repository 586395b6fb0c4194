"""The file of typical uses, which type checkers read in the lint step, runs as it claims."""

from __future__ import annotations

import runpy
from pathlib import Path

USES = Path(__file__).parent / "typing" / "uses.py"


def test_typical_uses_run(tmp_path):
    runpy.run_path(str(USES))["main"](tmp_path)
