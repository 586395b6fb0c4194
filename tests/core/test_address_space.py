"""Address space that runs out during a call that takes many items: MemoryError, not a signal."""

from __future__ import annotations

import pytest

# Each call runs with more and more address space, in its own child.
SWEEP = """
import copy, pickle, tempfile
import numpy as np

N = 100_000
group = MemGroup(base=1 << 20)
sizes, far, paths = np.full(N, 10, "u8"), np.full(N, 1 << 40, "u8"), ["/nonexistent"] * N
shuffled = np.random.default_rng(1).permutation(far + np.arange(N, dtype="u8"))
empty = tempfile.NamedTemporaryFile()
fd = os.open(empty.name, os.O_RDONLY)
records = group.alloc_many(sizes)
torn = group.alloc_many(np.resize(np.array([10, 200_000], "u8"), 500))
strided = np.zeros((8 << 20, 2), "u1")[:, 0]
block = group.alloc(8 << 20)


def pickled(list_):
    buffers = []
    data = pickle.dumps(list_, 5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=buffers)


calls = {
    "read_ranges": lambda: group.read_ranges(fd, far, sizes),
    "read_ranges in any order": lambda: group.read_ranges(fd, shuffled, sizes),
    "read_ranges of lists": lambda: group.read_ranges(fd, far.tolist(), sizes.tolist()),
    "read_files": lambda: group.read_files(paths),
    "read_files that change": lambda: group.read_files(["/proc/self/stat"] * 3000),
    "alloc_many": lambda: [group.alloc_many(sizes) for _ in range(20)],
    "alloc_many of any iterable": lambda: [group.alloc_many(int(size) for size in sizes) for _ in range(3)],
    "slots": lambda: (torn.slots, records[::2].slots),
    "columns": lambda: [(each.sizes, each.offsets) for each in (records, group.alloc_many(count=N, size=9))],
    "pickle": lambda: (pickled(records), pickled(torn)),
    "pickle of skipped records": lambda: pickle.loads(pickle.dumps(records[::2])),
    "arrow views": lambda: (records.__arrow_c_array__(), records[::2].__arrow_c_array__()),
    "arrow offsets": lambda: records.as_arrow("binary").__arrow_c_array__(),
    "copy": lambda: [copy.deepcopy(records) for _ in range(10)],
    "writev": lambda: records.writev(os.open("/dev/null", os.O_WRONLY)),
    "frames": lambda: [group.frames(os.pipe()[0], read_ahead=7 << 20) for _ in range(10)],
    "tobytes": lambda: [block.tobytes() for _ in range(8)],
    "strided": lambda: (group.copy(strided), block.__setitem__(slice(None), strided), block == strided),
    "strided into itself": lambda: block.__setitem__(slice(None), memoryview(block)[::-1]),
    "strided into a list": lambda: group.alloc_many([4 << 20] * 2).fill_from(strided),
    "strided to be found": lambda: block.find(strided),
}
name = sys.argv[1]
space = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()


def ends(more):
    # How a child with so much more address space ends.
    child = os.fork()
    if child == 0:
        status = 3
        try:
            resource.setrlimit(resource.RLIMIT_AS, (space + more,) * 2)
            calls[name]()
            status = 0
        except MemoryError:
            status = 1
        except OSError as error:
            status = 1 if error.errno == errno.ENOMEM else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


print(*(ends(quarters << 18) for quarters in [*range(0, 48, 4), *range(48, 224, 32), 400, 1600]))
"""

CALLS = [line.split('"')[1] for line in SWEEP.splitlines() if line.startswith('    "') and ": lambda" in line]


@pytest.mark.parametrize("call", CALLS)
def test_address_space_runs_out_as_a_memory_error(call, child):
    pytest.importorskip("numpy")
    ended = child.run(SWEEP, call)
    assert ended.returncode == 0, ended.stderr
    ends = [int(end) for end in ended.stdout.split()]
    assert set(ends) <= {0, 1}, f"{ends}\n{ended.stderr[:2000]}"
    assert ends[-1] == 0, "there was never enough"
