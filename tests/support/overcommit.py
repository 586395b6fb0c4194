"""Whether the kernel promises more memory than there is."""

from __future__ import annotations

from pathlib import Path

import pytest

IS_STRICT = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"

not_strict = pytest.mark.skipif(IS_STRICT, reason="vm.overcommit_memory=2 also counts what is not touched")
