"""What an examination finds."""

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
        topic: What it belongs to.
        name: What was looked at.
        state: How it is.
        value: What was found, for people.
        meaning: What that means for memgroup, in one sentence.
        facts: What was found, for programs: bytes and counts as numbers.
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
    """What a refusal means: that a limit is reached, or else what the words `lacking` say."""
    return _LIMITS.get(error.errno or 0, lacking)
