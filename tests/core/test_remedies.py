"""Exceptions of the documented type, with a remedy for the refused operation."""

from __future__ import annotations

import memgroup
import pytest


def test_a_fault_report_that_the_kernel_refuses_is_an_os_error(child):
    """Other code installs handlers again and again, until no place is left for ours."""
    said = child.output(
        """
        import faulthandler

        memgroup.enable_fault_report()
        for action in (signal.SIG_DFL, signal.SIG_IGN, lambda *_: None):
            for restart in (True, False):
                signal.signal(signal.SIGSEGV, action)
                signal.siginterrupt(signal.SIGSEGV, restart)
                memgroup.enable_fault_report()
        faulthandler.enable()
        memgroup.enable_fault_report()
        faulthandler.disable()
        faulthandler.enable()
        signal.siginterrupt(signal.SIGSEGV, False)
        print(outcome(memgroup.enable_fault_report))
        """
    )
    assert said.startswith("OSError: [Errno 16] ")
    assert "enable the report once" in said


def test_a_directory_that_was_removed_is_named_as_missing(tmp_path, child):
    said = child.output(
        """
        os.mkdir(sys.argv[1])
        group = MemGroup(backing=sys.argv[1])
        os.rmdir(sys.argv[1])
        print(outcome(group.alloc, 10))
        """,
        tmp_path / "gone",
    )
    assert said.startswith("MemoryError: ")
    assert "does not exist: create it" in said


def test_too_many_empty_blocks_are_refused_for_the_bytes_they_take(group):
    with pytest.raises(MemoryError, match="cannot allocate 18446744073709551615 bytes"):
        group.alloc_many(count=2**62, size=0)


@pytest.mark.parametrize("what", ["block", "list", "memoryview"])
def test_errors_use_python_terms_in_python(what):
    group = memgroup.MemGroup(backing="anonymous")
    block = group.alloc(10)
    thing = {"block": block, "list": group.alloc_many([1, 2]), "memoryview": memoryview(block)}[what]
    with pytest.raises(ValueError, match='backing="memfd"') as caught:
        group.protect(thing)
    assert "Options" not in str(caught.value)
