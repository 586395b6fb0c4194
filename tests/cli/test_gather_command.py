"""The command `memgroup gather`: what it prints, and how it ends."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from memgroup.display.text import show_size
from support.gathering import COMMAND, ENOUGH, after, contents


def run(*arguments: str | bytes | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=ENOUGH, check=False, **options
    )


def run_json(*arguments: str | bytes | Path, status: int = 0) -> dict:
    done = run(*arguments, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


class TestCommand:
    def test_json_has_this_shape(self, tree):
        facts = run_json(tree, "--largest", "3", "--base", "4K", "--limit", "1GiB")
        files = contents(tree)
        sizes = sorted(map(len, files.values()), reverse=True)
        assert set(facts) == {
            "version", "paths", "complete", "files", "bytes", "batches", "changed", "unsized", "skipped",
            "unreadable", "shortage", "seconds", "rates", "sizes", "group",
        }  # fmt: skip
        assert facts["paths"] == [{"path": str(tree)}]
        assert facts["complete"] is True
        assert (facts["files"], facts["bytes"]) == (len(files), sum(sizes))
        assert (facts["changed"], facts["unsized"], facts["skipped"]) == (0, 0, {})
        assert facts["unreadable"] == {"count": 0, "files": []}
        assert facts["shortage"] is None
        assert set(facts["seconds"]) == {"read", "protect", "inspect", "free"}
        assert all(seconds >= 0 for seconds in facts["seconds"].values())
        assert set(facts["rates"]) == {"files_per_second", "bytes_per_second"}
        assert set(facts["sizes"]) == {"mean", "median", "p90", "distribution", "largest"}
        assert [file["bytes"] for file in facts["sizes"]["largest"]] == sizes[:3]
        assert all(len(files[file["path"]]) == file["bytes"] for file in facts["sizes"]["largest"])
        group = facts["group"]
        assert (group["backing"], group["base"], group["limit"]) == ("memfd", 4096, 2**30)
        assert 0 < group["requested"] < sum(sizes)
        assert (group["blocks"], group["exports"]) == (128, 0)
        assert sum(slot["allocated"] for slot in group["slots"]) == group["allocated"]

    def test_plain_text_tells_the_same(self, tree):
        done = run(tree, "--largest", "1")
        facts = run_json(tree, "--largest", "1")
        assert done.returncode == 0
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        assert done.stdout.startswith(f"Gathered 200 files, {show_size(facts['bytes'])}, into one group of ")
        for title in ("Sizes", "Largest", "Slots", "Steps"):
            assert re.search(rf"^{title}", done.stdout, re.MULTILINE)
        assert facts["sizes"]["largest"][0]["path"] in done.stdout
        rows = done.stdout.split("Slots")[1].split("Steps")[0].splitlines()
        assert [int(row.split()[0]) for row in rows[2 : 2 + len(facts["group"]["slots"])]] == [
            slot["index"] for slot in facts["group"]["slots"]
        ]
        for step in ("read", "protect", "inspect", "free"):
            assert re.search(rf"^  {step} +[0-9]", done.stdout, re.MULTILINE)

    def test_backings(self, tree, tmp_path):
        (tmp_path / "backing").mkdir()
        expected = run_json(tree)["sizes"]
        facts = run_json(tree, "--backing", tmp_path / "backing")
        assert facts["sizes"] == expected
        assert facts["group"]["backing"] == str(tmp_path / "backing")
        assert not list((tmp_path / "backing").iterdir())
        facts = run_json(tree, "--backing", "anonymous")
        assert facts["sizes"] == expected
        assert "protect" not in facts["seconds"]
        assert "an anonymous group has no read-only mirror" in run(tree, "--backing", "anonymous").stdout

    def test_an_empty_directory_and_empty_files(self, tmp_path):
        facts = run_json(tmp_path)
        assert (facts["files"], facts["bytes"], facts["complete"]) == (0, 0, True)
        assert (run(tmp_path).returncode, run(tmp_path, "--find", "x").returncode) == (0, 1)
        for name in "abc":
            (tmp_path / name).touch()
        facts = run_json(tmp_path)
        assert (facts["files"], facts["bytes"], facts["sizes"]["median"]) == (3, 0, 0)
        assert (run(tmp_path).returncode, run(tmp_path, "--find", "x").returncode) == (0, 1)

    def test_thousands_of_files(self, tmp_path):
        chance = random.Random(4)
        total = 0
        for number in range(4000):
            directory = tmp_path / f"{number % 40}"
            directory.mkdir(exist_ok=True)
            content = bytes(chance.randrange(3000))
            total += len(content)
            (directory / f"{number}").write_bytes(content)
        facts = run_json(tmp_path)
        assert (facts["files"], facts["bytes"]) == (4000, total)

    def test_fifos_do_not_block(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        facts = run_json(tmp_path)
        assert (facts["files"], facts["skipped"], facts["complete"]) == (0, {"fifo": 1}, True)
        assert "Skipped 1 fifo" in run(tmp_path).stdout

    def test_unreadable_files_are_reported_and_the_rest_gathered(self, tree, tmp_path):
        (tmp_path / "dangling").symlink_to("nowhere")
        arguments = (tree, tmp_path / "dangling", "/proc/self/mem")
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            "memgroup: cannot read /proc/self/mem: Input/output error",
            f"memgroup: cannot read {tmp_path}/dangling: No such file or directory",
        ]
        assert "2 files could not be read" in done.stdout
        facts = run_json(*arguments, status=2)
        assert facts["files"] == 200
        assert facts["complete"] is False
        assert facts["unreadable"]["count"] == 2
        assert facts["unreadable"]["files"][0] == {"path": "/proc/self/mem", "reason": "Input/output error"}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_permissions(self, tree):
        (tree / "d0").chmod(0)
        try:
            facts = run_json(tree, status=2)
        finally:
            (tree / "d0").chmod(0o755)
        assert facts["unreadable"]["files"] == [{"path": str(tree / "d0"), "reason": "Permission denied"}]

    def test_running_out_of_memory_is_reported_with_everything_else(self, tmp_path):
        for number in range(10):
            (tmp_path / f"{number}").write_bytes(bytes(100_000 if number != 7 else 1_000_000))
        done = run(tmp_path, "--limit", "512K")
        facts = run_json(tmp_path, "--limit", "512K", status=2)
        assert (done.returncode, facts["files"], facts["shortage"]["left"]) == (2, 9, 1)
        assert facts["shortage"]["path"] == str(tmp_path / "7")
        assert facts["group"]["committed"] <= 512 * 1024
        first, second = done.stderr.splitlines()
        assert first.startswith(f"memgroup: no memory for {tmp_path}/7: cannot commit ")
        assert second == (
            f"memgroup: gathered 9 files, {show_size(facts['bytes'])}; left out 1. Raise --limit."
        )
        for text in (done.stderr, facts["shortage"]["reason"]):
            assert "reset" not in text

    def test_a_file_of_proc_without_end_is_listed_as_unreadable(self):
        facts = run_json("/proc/self/pagemap", status=2)
        reason = "Has no size, and more than 64 MiB of content"
        assert facts["unreadable"]["files"] == [{"path": "/proc/self/pagemap", "reason": reason}]
        assert (facts["files"], facts["complete"], facts["group"]["requested"]) == (0, False, 0)

    def test_undecodable_and_hostile_names(self, tmp_path):
        names = [b"caf\xe9", b"new\nline", b"esc\x1b[31m", "größe".encode(), b"back\\slash", b"[red]"]
        for name in names:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x" * len(name))
        text = run(tmp_path).stdout
        for shown in (r"caf\xe9", r"new\nline", r"esc\x1b[31m", "größe", r"back\\slash", "[red]"):
            assert f"{tmp_path}/{shown}\n" in text
        files = run_json(tmp_path)["sizes"]["largest"]
        raw = {
            bytes.fromhex(file["path_hex"]) if "path_hex" in file else file["path"].encode() for file in files
        }
        assert raw == {os.fsencode(tmp_path) + b"/" + name for name in names}
        assert [file["path"] for file in files if "path_hex" in file] == [f"{tmp_path}/caf\ufffd"]

    def test_an_output_that_supports_only_ascii(self, tmp_path):
        (tmp_path / "größe").touch()
        done = run(tmp_path, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0
        assert r"gr\xf6\xdfe" in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["/nowhere/at/all"], "/nowhere/at/all: No such file or directory"),
            (["/etc/passwd/below"], "Not a directory"),
            ([".", "--limit", "lots"], "not a size: 'lots'"),
            ([".", "--base", "0"], "base"),
            ([".", "--base", "9999999E"], "base"),
            ([".", "--backing", "/nowhere"], "/nowhere"),
            ([".", "--largest", "x"], "number from 0 on"),
            ([".", "--find", "x", "--threads", "0"], "number from 1 on"),
            ([".", "--find", "(", "--regex"], "unclosed group"),
            ([".", "--out", "x.csv"], "x.csv"),
            ([".", "--find", "x", "--memory", "1K"], "memory must be 262144 bytes or more"),
        ],
    )
    def test_bad_usage(self, arguments, words):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert words in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["/nope"], "/nope: No such file or directory"),
            ([""], "'': No such file or directory"),
            (
                [".", "--backing", "nonsense"],
                "--backing must be memfd, anonymous or a directory that exists, not nonsense",
            ),
            ([".", "--backing", "/etc/passwd"], "--backing /etc/passwd is not a directory"),
        ],
    )
    def test_well_formed_but_unusable_arguments_show_no_usage(self, arguments, words):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"memgroup gather: {words}\n")

    def test_a_bad_base_shows_no_usage(self):
        done = run(".", "--base", "0")
        assert done.stderr.startswith("memgroup gather: base must be ")
        assert len(done.stderr.splitlines()) == 1

    def test_help_says_how_base_is_rounded(self):
        assert "rounded up to whole pages" in " ".join(run("--help").stdout.split())

    def test_nothing_is_gathered_if_one_path_does_not_exist(self, tree):
        assert run(tree, "/nowhere").stdout == ""

    def test_version_help_and_no_command(self):
        base = [sys.executable, "-m", "memgroup"]
        assert re.fullmatch(
            r"memgroup \d+\.\d+\.\d+\n", subprocess.check_output([*base, "--version"], text=True)
        )
        assert b"gather" in subprocess.check_output([*base, "--help"])
        assert b"130  ended by Ctrl-C" in subprocess.check_output([*base, "gather", "--help"])
        alone = subprocess.run(base, capture_output=True, check=True)
        assert b"gather" in alone.stdout
        assert not alone.stderr

    def test_import_is_light_and_plain_output_needs_no_rich(self, tree):
        code = "import sys, memgroup; sys.exit(bool({'rich', 'argparse', 'json'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
        code = "import atexit; atexit.register(lambda: print('rich' in sys.modules, file=sys.stderr))"
        done = subprocess.run(after(code, tree), capture_output=True, text=True, check=False, timeout=ENOUGH)
        assert done.stderr == "False\n"
