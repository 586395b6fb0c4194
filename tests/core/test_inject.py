"""System calls that fail: the right exception, nothing lost, and the next alloc works."""

from __future__ import annotations

import os
import platform
import resource

import pytest
from support import inject

MIRRORED = {"memfd_create", "ftruncate", "mmap", "munmap", "fcntl", "madvise", "openat"}
EXPECTED = {
    "memfd": MIRRORED,
    "secret": MIRRORED | {"mlock"},
    "anonymous": {"mmap", "munmap", "madvise", "openat"},
    "directory": {"ftruncate", "mmap", "munmap", "madvise", "openat"},
}


@pytest.mark.skipif(platform.machine() not in inject.NUMBERS, reason="the numbers of calls are not known")
@pytest.mark.parametrize("backing", EXPECTED)
def test_groups_survive_the_failure_of_every_call(backing, tmp_path):
    if backing == "secret" and os.getuid() != 0 and resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 8 << 20:
        pytest.skip("RLIMIT_MEMLOCK is too low")
    source = tmp_path / "source"
    source.write_bytes(bytes(50_000))
    ended = inject.run(str(tmp_path) if backing == "directory" else backing, str(source))
    assert (ended.code, ended.err) == (0, ""), ended.out
    if ended.out.startswith("skip: "):
        pytest.skip(ended.out.removeprefix("skip: ").strip())
    failures, errors, *met = ended.out.split()
    assert set(met) >= EXPECTED[backing]
    assert int(failures) > 100
    assert int(errors) > 20
