"""Results where little is allowed: 256 descriptors, and 64 MiB of /dev/shm.

MEMGROUP_BIG_TESTS=1 has a million results and 1 GiB go through, as docs/promises.md has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy")

BIG = os.environ.get("MEMGROUP_BIG_TESTS") == "1"
SHM = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && ulimit -n 256 && exec "$@"'
SIZE = 1 << 20

PROGRAM = """
import gc, multiprocessing, os, resource, sys
import numpy as np
from memgroup.futures import ProcessPoolExecutor, result_group


def small(number):
    return number


def large(number):
    if number % 2:
        return np.full(SIZE // 8, number)
    return result_group().full((SIZE // 8,), number)


def slots(number):
    return [result_group().copy(b"%d" % number), np.full(5000, number)]


def main(few, many):
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256
    assert os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize == 64 << 20
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert sum(pool.map(small, range(few), chunksize=100)) == few * (few - 1) // 2
        total = 0
        for start in range(0, many, 16):
            for number, array in enumerate(pool.map(large, range(start, start + 16)), start):
                assert (array == number).all()
                total += array.nbytes
        # Some are kept, which takes descriptors.
        kept = [pool.submit(slots, number).result() for number in range(300)]
        assert all(block == b"%d" % n and (array == n).all() for n, (block, array) in enumerate(kept))
        print(few, total, len(os.listdir("/proc/self/fd")))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.mark.skipif(not shutil.which("unshare"), reason="there is no unshare")
def test_results_go_through_with_256_descriptors_and_64_mib_of_shared_memory(tmp_path):
    program = Path(tmp_path / "program.py")
    program.write_text(PROGRAM.replace("SIZE", str(SIZE)))
    user = ["-m"] if os.getuid() == 0 else ["-rm"]
    few, many = (1_000_000, 1024) if BIG else (2000, 48)
    command = ["unshare", *user, "sh", "-c", SHM, "sh", sys.executable, str(program), str(few), str(many)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600 if BIG else 300, check=False)
    if ended.returncode and ended.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"this user may not mount: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr[-5000:]
    results, nbytes, descriptors = map(int, ended.stdout.split())
    assert (results, nbytes) == (few, many * SIZE)
    assert descriptors < 256
