"""All operations against all ends, for MEMGROUP_STRESS_SECONDS: 2 unless it is set, 600 for the full run."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("MEMGROUP_STRESS_SECONDS") or 2)
PROGRAM = Path(__file__).parent.parent / "support" / "stress.py"

pytestmark = pytest.mark.thread_unsafe(reason="has threads of its own, in a process of its own")


def test_every_byte_has_one_owner_while_four_threads_do_everything():
    seed = random.randrange(1 << 30)
    command = [sys.executable, str(PROGRAM), str(SECONDS), str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3 * SECONDS + 120, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), (seed, ended.stdout)
    counts = [int(line.split()[0]) for line in ended.stdout.splitlines()]
    assert len(counts) > 25
    assert sum(counts) > 20 * SECONDS
