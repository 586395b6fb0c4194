"""The cost of a fork for a process that holds a group: predicted, and measured.

`predict` counts the kernel's objects for a family of any size; `measure` forks one on this machine::

    from memgroup.forkcost import measure, predict

    expected = predict(1 << 30, "anonymous", "star:1000")
    assert expected.anon_vmas == 1001 and expected.tables_per_fork == 513

    cost = measure(1 << 20, "memfd")
    print(cost.fork, cost.tables)
"""

from memgroup.display.watch import Watch
from memgroup.forkcost._backing import DEFAULT_BACKINGS
from memgroup.forkcost._measure import Measurement, compare, measure
from memgroup.forkcost._objects import KernelObject
from memgroup.forkcost._predict import Prediction, Walks, predict

__all__ = [
    "DEFAULT_BACKINGS",
    "KernelObject",
    "Measurement",
    "Prediction",
    "Walks",
    "Watch",
    "compare",
    "measure",
    "predict",
]
