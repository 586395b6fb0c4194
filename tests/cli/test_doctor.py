"""`memgroup doctor`: its findings on this machine, and its report about simulated machines."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from typing import Any

import memgroup
import pytest
from conftest import mappings
from memgroup._memgroup import memory_facts
from memgroup.cli.command import run
from memgroup.doctor import examine
from memgroup.doctor.findings import Finding
from memgroup.doctor.interpreter import interpreter
from memgroup.doctor.kernel import MFD_NOEXEC_SEAL, SEAL_FUTURE_WRITE, Kernel
from memgroup.doctor.machine import limits, memory
from memgroup.doctor.probes import mechanisms
from memgroup.doctor.report import as_json, report, works
from rich.console import Console

# Every machine that passes these tests has these features.
NEEDED = {"Linux", "processor", "memfd", "seals", "FUTURE_WRITE", "read-only mirror", "a group"}


def by_name(findings) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


# This machine


def test_this_machine_has_what_groups_need():
    found = examine()
    assert works(found)
    assert {finding.name: finding.state for finding in found if finding.name in NEEDED} == dict.fromkeys(
        NEEDED, "ok"
    )
    assert len({(finding.topic, finding.name, str(finding.facts)) for finding in found}) == len(found)
    for finding in found:
        assert finding.state in {"ok", "note"}
        assert finding.value
        assert len(finding.meaning) > 5
        assert "\n" not in finding.value + finding.meaning


def test_doctor_leaves_no_descriptor_and_no_mapping_behind():
    def descriptors():
        return sorted(os.listdir("/proc/self/fd"))

    list(mechanisms())  # the first call loads all modules
    before, mapped, warm = descriptors(), mappings("memgroup-doctor"), memgroup.warm_memory().slots
    for _ in range(5):
        list(mechanisms())
    assert descriptors() == before
    # One slot of its group is kept warm, as for any group.
    assert memgroup.warm_memory().slots - warm <= 1
    assert mappings("memgroup-doctor") - mapped <= 2


# Other kernels


class Refusing(Kernel):
    """A kernel that lacks a feature."""

    def __init__(self, *lacking: str, number: int = errno.EINVAL) -> None:
        self.lacking, self.number = lacking, number

    def refuse(self, what: str) -> None:
        if what in self.lacking:
            raise OSError(self.number, os.strerror(self.number))

    def memfd(self, flags):
        self.refuse("memfd")
        if flags & MFD_NOEXEC_SEAL:
            self.refuse("noexec")
        return super().memfd(flags)

    def seal(self, fd, seals):
        self.refuse("seal")
        if seals & SEAL_FUTURE_WRITE:
            self.refuse("future")
        super().seal(fd, seals)

    def advise(self, address, nbytes, advice):
        self.refuse("populate")
        super().advise(address, nbytes, advice)

    def memfd_secret(self):
        self.refuse("secret")
        return super().memfd_secret()


@pytest.mark.parametrize(
    ("lacking", "missing", "notes"),
    [
        ("noexec", set(), {"MFD_NOEXEC_SEAL"}),
        ("secret", set(), {"memfd_secret"}),
        ("populate", set(), {"populate"}),
        ("future", {"FUTURE_WRITE", "read-only mirror"}, set()),
        ("seal", {"seals", "FUTURE_WRITE", "read-only mirror"}, set()),
        ("memfd", {"memfd", "seals", "FUTURE_WRITE", "read-only mirror"}, {"MFD_NOEXEC_SEAL", "populate"}),
    ],
)
def test_missing_kernel_features_are_named(lacking, missing, notes):
    here = {finding.name for finding in mechanisms() if finding.state != "ok"}
    found = by_name(mechanisms(Refusing(lacking)))
    assert {name for name, finding in found.items() if finding.state == "missing"} == missing
    assert {name for name, finding in found.items() if finding.state == "note"} == notes | here
    assert works(found.values()) == (not missing)
    for name in missing | notes:
        assert found[name].value == "no (EINVAL)"
        assert found[name].facts["works"] is False


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EMFILE, "RLIMIT_NOFILE"), (errno.EFBIG, "RLIMIT_FSIZE"), (errno.ENOMEM, "ulimit -v")],
)
def test_a_resource_limit_is_not_reported_as_a_missing_feature(number, remedy):
    found = by_name(mechanisms(Refusing("memfd", number=number)))
    for name in ("memfd", "seals", "read-only mirror"):
        assert (found[name].state, found[name].facts["errno"]) == ("missing", number)
        assert remedy in found[name].meaning


def test_a_kernel_whose_mirrors_can_be_turned_writable_is_not_trusted():
    class Careless(Kernel):
        def seal(self, fd, seals):
            super().seal(fd, seals & ~SEAL_FUTURE_WRITE)

    found = by_name(mechanisms(Careless()))["read-only mirror"]
    assert (found.state, found.value) == ("missing", "mprotect succeeds")


@pytest.mark.parametrize(
    ("release", "state"), [("5.0.21-generic", "missing"), ("5.1.0", "ok"), ("6.1", "ok")]
)
def test_the_kernel_must_be_new_enough(monkeypatch, release, state):
    monkeypatch.setattr("platform.release", lambda: release)
    assert by_name(mechanisms())["Linux"].state == state


@pytest.mark.parametrize(("machine", "state"), [("riscv64", "missing"), ("aarch64", "ok")])
def test_the_processor_must_be_a_supported_one(monkeypatch, machine, state):
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert by_name(mechanisms())["processor"].state == state


# Memory and limits


def facts(**known: Any) -> Any:
    """What the kernel says of memory: what is `known`, and None of the rest."""
    return dict.fromkeys(memory_facts()) | {"cgroups": []} | known


def cgroup(path, limit, usage):
    return {"path": path, "version": 2, "limit": limit, "usage": usage, "reclaimable": 0}


def test_every_cgroup_level_is_told():
    levels = [cgroup("/a/b", 1000, 1500), cgroup("/a", None, 2000), cgroup("/", 4096, 96)]
    found = [finding.facts for finding in memory(facts(cgroups=levels)) if finding.name == "cgroup"]
    told = [(one["path"], one["limit"], one["headroom"]) for one in found]
    assert told == [("/a/b", 1000, 0), ("/a", None, None), ("/", 4096, 4000)]


def test_where_the_kernel_says_nothing_there_are_no_huge_pages_and_no_more():
    assert [finding.name for finding in memory(facts())] == ["huge pages, memfd", "huge pages, anonymous"]


def test_this_machine_says_what_memory_it_has():
    known: Any = memory_facts()
    assert known["total"] >= known["available"] > 0
    assert all(level["usage"] >= 0 for level in known["cgroups"])


def test_little_memory_is_noted():
    level = cgroup("/x", 64 << 20, 60 << 20)
    little = facts(available=1 << 20, swap_free=512 << 10, cgroups=[level], overcommit_mode=2)
    found = by_name(memory(little))
    assert (found["available"].state, found["available"].facts["bytes"]) == ("note", 1536 * 1024)
    assert (found["cgroup"].state, found["cgroup"].value) == ("note", "4 MiB")
    assert "kills" in found["cgroup"].meaning
    assert (found["overcommit"].state, found["overcommit"].facts["mode"]) == ("note", 2)
    assert found["huge pages, memfd"].value == "none"


@pytest.mark.parametrize(
    ("setting", "chosen", "name", "state"),
    [
        ("shmem_enabled", "advise", "huge pages, memfd", "ok"),
        ("shmem_enabled", "never", "huge pages, memfd", "ok"),
        ("shmem_enabled", "deny", "huge pages, memfd", "note"),
        ("enabled", "madvise", "huge pages, anonymous", "ok"),
        ("enabled", "never", "huge pages, anonymous", "note"),
    ],
)
def test_huge_pages_are_those_that_groups_would_use(setting, chosen, name, state):
    known = facts(huge_page_size=2 << 20, **{f"huge_page_{setting}": chosen})
    found = by_name(memory(known))[name]
    assert found.state == state
    assert state == "ok" or setting in found.meaning


def test_few_mappings_are_noted():
    found = by_name(limits(facts(max_mappings=700, mappings=500)))["max_map_count"]
    assert (found.state, found.facts) == ("note", {"count": 700, "taken": 500})
    assert "some 40 slots" in found.meaning


def test_limits_of_the_process_are_told(child):
    code = """
    from memgroup._memgroup import memory_facts
    from memgroup.doctor.machine import limits
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    for finding in limits(memory_facts()):
        print(finding.name, finding.state, finding.value, sep="|")
    """
    lines = child.output(code).splitlines()
    assert "RLIMIT_FSIZE|note|1 MiB" in lines
    assert "RLIMIT_NOFILE|note|32" in lines
    assert any(line.startswith("RLIMIT_AS|ok|unlimited") for line in lines)


# Python


@pytest.mark.parametrize(
    ("value", "state", "shown"),
    [("1048576", "ok", "1 MiB"), ("0", "note", "0 B"), ("lots", "note", None)],
)
def test_the_warm_limit_and_its_variable_are_told(value, state, shown):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "memgroup", "doctor", "--json"],
        env={**os.environ, "MEMGROUP_WARM_LIMIT": value},
        capture_output=True,
        check=True,
    )
    (found,) = (one for one in json.loads(done.stdout)["findings"] if one["name"] == "warm limit")
    assert (found["state"], found["variable"]) == (state, value)
    assert shown is None or found["value"] == shown
    assert shown is not None or "ignored" in found["meaning"]


def test_missing_optional_packages_are_no_fault(monkeypatch):
    from importlib import metadata

    def version(_name):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", version)
    found = by_name(interpreter())
    assert (found["numpy"].state, found["numpy"].facts) == ("ok", {"version": None})


# The command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memgroup", "doctor", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_reports_for_people():
    done = command()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"memgroup {memgroup.__version__} works here")
    assert {"Mechanisms", "Limits", "Memory", "Python"} <= set(lines)
    assert sum(line.lstrip().startswith(("ok ", "note ")) for line in lines) == len(examine())


def test_the_command_reports_for_programs():
    done = command("--json")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert (facts["version"], facts["works"]) == (memgroup.__version__, True)
    names = {finding["name"] for finding in facts["findings"]}
    assert names >= NEEDED | {"RLIMIT_AS", "max_map_count", "GIL", "numpy"}


def test_bad_usage_has_its_own_exit_status():
    assert command("--nonsense").returncode == 2
    assert command("here").returncode == 2


def test_a_terminal_shows_missing_features_in_colour():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, color_system="standard", width=100)
    console.print(report(list(mechanisms(Refusing("future", "secret")))))
    lines = text.getvalue().splitlines()
    assert any("\x1b[1;31mMISSING" in line and "FUTURE_WRITE" in line for line in lines)
    assert any("\x1b[33mnote" in line and "memfd_secret" in line for line in lines)
    assert any("\x1b[32mok" in line and "seals" in line for line in lines)


def test_missing_features_come_first_and_set_the_exit_status(monkeypatch, capsys):
    found = list(mechanisms(Refusing("future")))
    monkeypatch.setattr("memgroup.doctor.mechanisms", lambda: found)
    assert run(["doctor"]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith("does not work here as it should; missing: FUTURE_WRITE, read-only mirror")
    assert run(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["works"] is False
    assert not works(found)
    assert "MISSING" in {row[0] for table in report(found).tables for row in table.rows}
    assert json.loads(as_json(found))["findings"]
