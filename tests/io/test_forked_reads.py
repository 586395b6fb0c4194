"""`read_files` and `read_ranges` in a process that forks while they read."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "call", ["read_files([path], progress=fork)", "read_ranges(path, [0], [SIZE], progress=fork)"]
)
def test_a_child_that_reads_on_takes_nothing_from_its_parent(child, tmp_path, call):
    """The child inherits the descriptors of its parent, and with them the place where each is read."""
    (tmp_path / "file").write_bytes(bytes(range(256)) * (1 << 20))
    said = child.output(
        f"""
        SIZE, path, children = 1 << 28, sys.argv[1], []

        def fork(done, total):
            if not children:
                children.append(os.fork())

        with open(path, "rb") as file:
            expected = file.read()
        result = MemGroup(base=SIZE).{call}
        same = result.blocks[0] == expected and not result.changed and not result.errors
        if children[0] == 0:
            os._exit(0 if same else 3)
        print(same, os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
        """,
        tmp_path / "file",
    )
    assert said == "True 0"
