"""The module needs no GIL, and does not enable one."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

without_gil = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL"
)


@without_gil
def test_the_import_leaves_the_gil_off(child):
    # Enabling the GIL would print a warning, and the child must print nothing.
    code = "import memgroup.aio, memgroup.rmap; print(sys._is_gil_enabled(), threading.active_count())"
    assert child.output(code) == "False 1"


@without_gil
@pytest.mark.parametrize("flag", [(), ("-X", "gil=0")], ids=["as it comes", "forced off"])
def test_groups_work_on_many_threads_without_it(child, flag):
    code = """
group = MemGroup(base=4096)
barrier = threading.Barrier(4)


def own(me):
    barrier.wait()
    blocks = [group.copy(bytes([me]) * (n % 300)) for n in range(5000)]
    barrier.wait()
    assert all(block == bytes([me]) * (n % 300) for n, block in enumerate(blocks)), "somebody else's bytes"


threads = [threading.Thread(target=own, args=[me]) for me in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(group.stats().blocks, sys._is_gil_enabled())
"""
    assert child.output(code, flags=flag) == "20000 False"


def test_the_module_is_built_for_threads_without_a_gil():
    """The module declares it explicitly and does not rely on pyo3's default, which may change."""
    source = Path(__file__).parents[2] / "src/python/mod.rs"
    assert "#[pymodule(gil_used = false)]" in source.read_text()
