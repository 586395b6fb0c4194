"""Reports of crashes."""

def enable_fault_report() -> None:
    """Report on standard error what happened before the process dies of an access to a group's memory.

    Such accesses are a store into a read-only mirror, any access to the guard pages around a mirror, and any
    access to memory that a group has freed. The report names the group, the slot, the offset, the object (if
    its address was given out after this call) and the remedy. The process still dies of the same signal, and
    faulthandler and other handlers still run, whether they were installed before or after. Faults outside
    groups are passed on without a report.

    The environment variable MEMGROUP_FAULT_REPORT=1 does this when memgroup is imported.

    Raises:
        OSError: The kernel refuses the signal handlers.
    """

def disable_fault_report() -> None:
    """Undo `enable_fault_report`."""
