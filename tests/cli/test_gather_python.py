"""`memgroup.gather`: batches of files; and the tables that the command makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import memgroup
import pytest
from memgroup._files import read_batch
from support.gathering import COMMAND, ENOUGH, contents

LEAST = 256 * 1024


def command(*arguments: str | Path, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, timeout=ENOUGH, check=False
    )
    return done.returncode, done.stdout, done.stderr


class TestBatches:
    @pytest.mark.parametrize("memory", [LEAST, 1 << 20, 1 << 28])
    def test_every_file_is_in_one_batch(self, tree, memory):
        found = {}
        for batch in memgroup.gather(tree, memory=memory):
            paths, files = batch
            assert files.nbytes <= memory
            assert (batch.offsets, batch.errors) == ([0] * len(paths), {})
            found.update(zip(paths, files.tolist(), strict=True))
        assert found == contents(tree)

    def test_files_in_which_nothing_is_found_are_left_out(self, tree):
        for options, is_in in [
            ({"find": "abca"}, lambda content: b"abca" in content),
            ({"find": [b"abca", "ccba"]}, lambda content: b"abca" in content or b"ccba" in content),
            ({"find": "ABCA", "ignore_case": True}, lambda content: b"abca" in content),
            ({"find": "^$", "regex": True}, lambda content: not content),
        ]:
            found = {
                path: content
                for paths, files in memgroup.gather([tree], **options)
                for path, content in zip(paths, files.tolist(), strict=True)
            }
            assert found == {path: content for path, content in contents(tree).items() if is_in(content)}

    @pytest.mark.parametrize("size", [LEAST - 1, LEAST, LEAST + 1, 3 * LEAST + 7])
    @pytest.mark.parametrize("line", [b"a line\n", b"x" * 100_000 + b"\n", b"no feed"])
    def test_large_files_come_in_pieces_that_end_with_lines(self, tmp_path, size, line):
        content = (line * (size // len(line) + 1))[:size]
        (tmp_path / "large").write_bytes(content)
        pieces = []
        for batch in memgroup.gather(tmp_path, memory=LEAST):
            assert batch[0] == [str(tmp_path / "large")]
            assert batch.offsets == [sum(map(len, pieces))]
            pieces += batch[1].tolist()
        assert b"".join(pieces) == content
        assert max(map(len, pieces)) <= LEAST
        if line == b"a line\n":
            assert all(piece.endswith(b"\n") for piece in pieces[:-1])

    def test_views_keep_their_memory(self, tree):
        views = [memoryview(file) for _, files in memgroup.gather(tree, memory=LEAST) for file in files]
        assert sorted(map(bytes, views)) == sorted(contents(tree).values())

    def test_blocks_are_freed_with_the_next_batch(self, tree):
        batches = memgroup.gather(tree, memory=LEAST)
        (_, first), (_, second) = next(batches), next(batches)
        with pytest.raises(ValueError, match="freed"):
            first[0][:]
        batches.close()
        with pytest.raises(ValueError, match="freed"):
            second[0][:]

    def test_what_cannot_be_read_is_an_error_and_ends_nothing(self, tmp_path, monkeypatch):
        for name in "abc":
            (tmp_path / name).write_text(name)
        real = read_batch

        def delete_b(group, paths, follow):
            (tmp_path / "b").unlink()
            return real(group, paths, follow)

        monkeypatch.setattr("memgroup._files.read_batch", delete_b)
        batches = list(memgroup.gather([tmp_path, tmp_path / "nowhere"]))
        assert batches[0][0] == [str(tmp_path / "a"), str(tmp_path / "c")]
        errors = batches[0].errors | batches[1].errors
        assert {path: type(error) for path, error in errors.items()} == {
            str(tmp_path / "b"): FileNotFoundError,
            str(tmp_path / "nowhere"): FileNotFoundError,
        }

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="memory must be 262144 bytes or more, not 1"):
            memgroup.gather(".", memory=1)
        with pytest.raises(ValueError, match="unclosed group"):
            memgroup.gather(".", find="(", regex=True)
        with pytest.raises(TypeError):
            memgroup.gather([1])  # type: ignore[list-item]

    def test_ignored_files(self, tmp_path):
        (tmp_path / ".gitignore").write_text("b\n")
        for name in "ab":
            (tmp_path / name).touch()
        names = [
            os.path.basename(path) for paths, _ in memgroup.gather(tmp_path, ignore=True) for path in paths
        ]
        assert names == [".gitignore", "a"]


def read(table: Path):
    if table.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(table)
    return pytest.importorskip("pyarrow.ipc").open_file(table).read_all()


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
class TestTables:
    def test_a_row_for_each_line(self, tmp_path, name):
        pytest.importorskip("pyarrow")
        where = tmp_path / "tree"
        where.mkdir()
        (where / "a").write_text("one\nhello a\nhello b\n")
        (where / "b").write_bytes(b"hello\0\n")
        Path(os.fsdecode(os.fsencode(where) + b"/caf\xe9")).write_bytes(b"x hello\xff")
        out = tmp_path / name
        assert command("--find", "hello", "-a", "tree", "--out", out, cwd=tmp_path) == (0, "", "")
        cafe = {"path": "tree/caf\ufffd", "path_bytes": b"tree/caf\xe9"}
        assert read(out).to_pylist() == [
            {"path": "tree/a", "path_bytes": None, "offset": 4, "line": 2, "bytes": b"hello a"},
            {"path": "tree/a", "path_bytes": None, "offset": 12, "line": 3, "bytes": b"hello b"},
            {"path": "tree/b", "path_bytes": None, "offset": 0, "line": 1, "bytes": b"hello\0"},
            {**cafe, "offset": 0, "line": 1, "bytes": b"x hello\xff"},
        ]
        assert str(read(out).schema.field("path").type).startswith("dictionary<values=string, indices=int32")
        assert command("--find", "hello", "tree/b", "--out", out, cwd=tmp_path) == (0, "", "")
        binary = {"path": "tree/b", "path_bytes": None, "offset": 0, "line": None, "bytes": None}
        assert read(out).to_pylist() == [binary]
        assert command("--find", "none", "tree", "--out", out, cwd=tmp_path) == (1, "", "")
        assert read(out).num_rows == 0
        assert sorted(os.listdir(tmp_path)) == sorted([name, "tree"])

    def test_a_row_for_each_file(self, tree, name):
        pytest.importorskip("pyarrow")
        (tree / "large").write_bytes(b"a line\n" * 100_000)
        files = contents(tree)
        out = tree.parent / name
        assert command(tree, "--out", out, "--memory", "1M", cwd=tree) == (0, "", "")
        found: dict[str, bytes] = {}
        for row in read(out).to_pylist():
            assert len(found.get(row["path"], b"")) == row["offset"]
            found[row["path"]] = found.get(row["path"], b"") + row["bytes"]
        assert found == files

    def test_many_lines(self, tmp_path, name):
        pytest.importorskip("pyarrow")
        (tmp_path / "tree").mkdir()
        for number in range(30):
            lines = (f"{number} {line} hello\n" for line in range(10_000))
            (tmp_path / "tree" / f"{number:02}").write_text("".join(lines))
        out = tmp_path / name
        assert command("--find", "hello", "tree", "--out", out, cwd=tmp_path)[0] == 0
        table = read(out)
        assert table.num_rows == 300_000
        expected = [
            (f"tree/{n:02}", k + 1, b"%d %d hello" % (n, k)) for n in range(30) for k in range(10_000)
        ]
        columns = (table.column(column).to_pylist() for column in ("path", "line", "bytes"))
        assert list(zip(*columns, strict=True)) == expected

    def test_errors(self, tmp_path, name):
        pytest.importorskip("pyarrow")
        (tmp_path / "a").write_text("hello\n")
        out = tmp_path / name
        status, _, message = command("--find", "hello", "a", "gone", "--out", out, cwd=tmp_path)
        assert (status, message) == (2, "memgroup: gone: No such file or directory\n")
        assert read(out).num_rows == 1
        status, _, message = command("a", "gone", "--out", out, cwd=tmp_path)
        assert (status, message) == (2, "memgroup: gone: No such file or directory\n")
        status, _, message = command("a", "--out", tmp_path / "nowhere" / name, cwd=tmp_path)
        assert status == 2
        assert "No such file or directory" in message
        assert sorted(os.listdir(tmp_path)) == sorted(["a", name])


def test_a_table_without_pyarrow(tmp_path):
    code = "import sys; sys.modules['pyarrow'] = None; from memgroup.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "gather", "--out", "x.arrow"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "memgroup gather: --out needs pyarrow: pip install pyarrow\n"
