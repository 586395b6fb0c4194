"""The results of the checks."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Any, Final, Literal

State = Literal["ok", "note", "missing"]
"""ok: as it should be. note: worth knowing, groups work. missing: something that groups need is not there."""

NEEDED: Final = "missing"
OPTIONAL: Final = "note"
"""The state of what is not there, by what it is to groups."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about this machine.

    Attributes:
        topic: The section of the report.
        name: The checked property.
        state: The verdict.
        value: The result, for people.
        meaning: The consequence for memgroup, in one sentence.
        facts: The result, for programs: bytes and counts as numbers.
    """

    topic: str
    name: str
    state: State
    value: str
    meaning: str
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


def refusal(error: OSError) -> str:
    """How the kernel refused: `no (EINVAL)`."""
    return f"no ({errno.errorcode.get(error.errno or 0, error)})"


_LIMITS = {
    errno.EFBIG: "it could not be tried: files may not be that large, raise RLIMIT_FSIZE (ulimit -f)",
    errno.EMFILE: "it could not be tried: too many files are open, raise RLIMIT_NOFILE (ulimit -n)",
    errno.ENFILE: "it could not be tried: the machine has no more open files to give",
    errno.ENOMEM: "it could not be tried: no memory, address space (ulimit -v) or mappings are left",
}


def blame(error: OSError, lacking: str) -> str:
    """The meaning of a refusal: a limit is reached, or otherwise the text `lacking`."""
    return _LIMITS.get(error.errno or 0, lacking)
