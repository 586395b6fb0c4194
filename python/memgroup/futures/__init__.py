"""The standard library's process pool, with results and arguments that travel without a copy.

`ProcessPoolExecutor` is `concurrent.futures.ProcessPoolExecutor` with another transport: buffers that pickle
out of band and objects of `result_group()` go through shared memory.
"""

from concurrent.futures.process import BrokenProcessPool

from memgroup.futures._executor import ProcessPoolExecutor
from memgroup.futures._worker import result_group

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor", "result_group"]
