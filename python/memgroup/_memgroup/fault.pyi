"""Reports of crashes."""

def enable_fault_report() -> None:
    """Have the process say on standard error what happened before it dies of an access to a group's memory.

    That is: a store into a read-only mirror, an access to the guard pages around a mirror, or to what a group
    has given back. The report names the group, the slot, the offset and the object (one whose address was
    given out since this was called), and the remedy. The process dies all the same, of the same signal, and
    faulthandler and other handlers still run, whether they were installed before or after. Faults elsewhere
    are passed on in silence.

    The environment variable MEMGROUP_FAULT_REPORT=1 does this as memgroup is imported.

    Raises:
        OSError: The kernel does not let the signals be handled.
    """

def disable_fault_report() -> None:
    """Undo `enable_fault_report`."""
