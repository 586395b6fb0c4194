"""stubtest for memgroup: `python .ci/stubtest.py`.

The stubs of the one compiled module are several files, and stubtest compares each with the module of its
name. So it gets such modules here, with what their stubs define.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType

from memgroup import _memgroup as compiled
from mypy import stubtest

STUBS = Path(compiled.__file__).with_name("_memgroup")
ALLOWLIST = Path(__file__).with_name("stubtest-allowlist.txt")


def part(stub: Path) -> ModuleType:
    """The part of the compiled module that a stub describes."""
    module = ModuleType(f"{compiled.__name__}.{stub.stem}")
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        name = getattr(node, "name", "")
        if hasattr(compiled, name):
            setattr(module, name, getattr(compiled, name))
    return module


if __name__ == "__main__":
    for stub in STUBS.glob("*.pyi"):
        if stub.stem != "__init__":
            sys.modules[f"{compiled.__name__}.{stub.stem}"] = part(stub)
    sys.argv[1:] = ["memgroup", "--allowlist", str(ALLOWLIST), "--ignore-unused-allowlist"]
    sys.exit(stubtest.main())
