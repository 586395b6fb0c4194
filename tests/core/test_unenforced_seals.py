"""Where the kernel lets a read-only mirror be made writable after all, groups with mirrors are refused.

Sandboxes that emulate the kernel accept the seals without enforcing them. Here a seccomp filter lets
`mprotect` return success without any effect.
"""

from __future__ import annotations

import platform

import pytest

NUMBERS = {"x86_64": 10, "aarch64": 226}

PRETEND = """
import struct

number, filters = int(sys.argv[1]), b""
for statement in [
    (0x20, 0, 0, 0),  # load the call's number
    (0x15, 0, 3, number),  # mprotect, ...
    (0x20, 0, 0, 16 + 8 * 2),  # ... and its protection
    (0x15, 0, 1, 3),  # to be read and written
    (0x06, 0, 0, 0x00050000),  # 0, and nothing is done
    (0x06, 0, 0, 0x7FFF0000),  # all else goes on
]:
    filters += struct.pack("=HBBI", *statement)
code = ctypes.create_string_buffer(filters, len(filters))
program = struct.pack("@HP", 6, ctypes.addressof(code))


def pretend():
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
        print("skip")
        sys.exit()
"""


@pytest.mark.skipif(platform.machine() not in NUMBERS, reason="the number of the call is not known")
def test_a_group_with_mirrors_is_refused_with_the_remedy(child, mirrored):
    said = child.output(
        PRETEND
        + """
pretend()
group = MemGroup(backing=sys.argv[2])
for _ in range(2):
    print(outcome(group.alloc, 10))
print(group.stats().mapped)
""",
        NUMBERS[platform.machine()],
        mirrored,
    ).splitlines()
    if said == ["skip"]:
        pytest.skip("no filter can be installed here")
    assert said[0] == said[1]
    assert said[0].startswith("OSError: ")
    assert 'backing="anonymous"' in said[0]
    assert said[2:] == ["0"]


@pytest.mark.skipif(platform.machine() not in NUMBERS, reason="the number of the call is not known")
def test_the_kernel_is_asked_once(child, mirrored):
    said = child.output(
        PRETEND
        + """
MemGroup(backing=sys.argv[2]).alloc(10)
pretend()
print(outcome(MemGroup(backing=sys.argv[2], base=1 << 20).alloc, 10))
""",
        NUMBERS[platform.machine()],
        mirrored,
    )
    assert said in ("fine", "skip")
