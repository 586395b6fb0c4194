"""Child processes in which the kernel answers one system call otherwise."""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence

import pytest

NUMBERS = {
    "x86_64": {"mprotect": 10, "madvise": 28},
    "aarch64": {"mprotect": 226, "madvise": 233},
}

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
FIRST_ARGUMENT = 16

INSTALL = """
import struct

def install(filters):
    code = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("@HP", len(filters) // 8, ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
        print("no filter can be installed here")
        sys.exit()
"""


def answering(call: str, argument: int, values: Sequence[int], code: int) -> str:
    """Return a program that makes the kernel answer a call with an error code (0: it pretends success).

    It does so where that argument, counted from 0, is one of some values. The program stands behind PRELUDE.
    """
    if platform.machine() not in NUMBERS:
        return "print('no filter can be installed here: the numbers of the calls are not known'); sys.exit()"
    tests = [(JUMP_IF_EQUAL, len(values) - number, 0, value) for number, value in enumerate(values)]
    statements = [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, len(tests) + 1, NUMBERS[platform.machine()][call]),
        (LOAD, 0, 0, FIRST_ARGUMENT + 8 * argument),
        *tests,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | code),
    ]
    filters = b"".join(struct.pack("=HBBI", *statement) for statement in statements)
    return f"{INSTALL}\ninstall({filters!r})\n"


# As before Linux 5.14: MADV_POPULATE_READ and MADV_POPULATE_WRITE are not known.
WITHOUT_POPULATE = answering("madvise", 2, [22, 23], errno.EINVAL)


def checked(said: str) -> str:
    """Return what such a program printed, or skip the test if it could not be filtered."""
    if said.startswith("no filter"):
        pytest.skip(said.strip())
    return said
