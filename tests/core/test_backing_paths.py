"""A group uses its directory also after the process changes its current directory."""

from __future__ import annotations


def test_a_relative_directory_is_resolved_once(child, tmp_path):
    for name in "ab":
        (tmp_path / name / "spool").mkdir(parents=True)
    first, second = tmp_path / "a", tmp_path / "b"
    assert (
        child.output(
            """
first, second = sys.argv[1:]
os.chdir(first)
group = MemGroup(backing="spool")
print(group.backing)
group.alloc(10)
os.chdir(second)
group.alloc(1 << 20)
os.chdir("/")
group.alloc(4 << 20)
maps = open("/proc/self/maps").read().splitlines()
print(*sorted({line.split()[5].rsplit("/", 1)[0] for line in maps if "/spool/" in line}))
""",
            first,
            second,
        ).splitlines()
        == [str(first / "spool")] * 2
    )


def test_a_relative_directory_without_a_current_one_is_an_error_that_names_it(child, tmp_path):
    (tmp_path / "gone").mkdir()
    said = child.output(
        """
os.chdir(sys.argv[1])
os.rmdir(sys.argv[1])
print(outcome(MemGroup, backing="spool"))
""",
        tmp_path / "gone",
    )
    assert said.startswith("FileNotFoundError: ")
    assert "spool" in said
    assert "absolute" in said
