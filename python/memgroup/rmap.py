"""A model of how Linux finds every mapping of a page across forked processes, in each of its designs.

It can be run; it does not use groups and does not query the kernel::

    from memgroup.rmap import Machine

    machine = Machine("modern")
    parent = machine.spawn()
    mapping = parent.mmap(1)
    page = parent.write(mapping.start)
    children = parent.fork(3)
    assert machine.unmap_visits(page) == 4
"""

from memgroup._memgroup import Broken, Machine, Process, Vma
from memgroup.display.rmap.drawing import Drawing

__all__ = ["POLICIES", "Broken", "Drawing", "Machine", "Process", "Vma"]

POLICIES = Machine.POLICIES
"""The names of the designs, oldest first."""
