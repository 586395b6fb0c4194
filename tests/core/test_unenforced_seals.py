"""Where the kernel lets a read-only mirror be made writable after all, groups with mirrors are refused.

Sandboxes that emulate the kernel accept the seals without enforcing them. Here a seccomp filter lets
`mprotect` return success without any effect.
"""

from __future__ import annotations

import mmap

from support.seccomp import answering, checked


def pretend() -> str:
    """Return a program that has `mprotect` succeed without any effect where memory becomes writable."""
    return answering("mprotect", 2, [mmap.PROT_READ | mmap.PROT_WRITE], 0)


def test_a_group_with_mirrors_is_refused_with_the_remedy(child, mirrored):
    said = child.output(
        pretend()
        + """
group = MemGroup(backing=sys.argv[1])
for _ in range(2):
    print(outcome(group.alloc, 10))
print(group.stats().mapped)
""",
        mirrored,
    )
    first, again, mapped = checked(said).splitlines()
    assert first == again
    assert first.startswith("OSError: ")
    assert 'backing="anonymous"' in first
    assert mapped == "0"


def test_the_kernel_is_asked_once(child, mirrored):
    said = child.output(
        "MemGroup(backing=sys.argv[1]).alloc(10)\n"
        + pretend()
        + "print(outcome(MemGroup(backing=sys.argv[1], base=1 << 20).alloc, 10))",
        mirrored,
    )
    assert checked(said) == "fine"
