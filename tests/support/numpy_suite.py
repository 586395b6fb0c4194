"""numpy's own tests, each within `with group.numpy():`, against the same tests without.

    python tests/support/numpy_suite.py                        # numpy._core and numpy.lib: some minutes
    python tests/support/numpy_suite.py numpy.linalg numpy.ma  # others
    python tests/support/numpy_suite.py numpy.lib -k pad       # some of them; the rest is for pytest

Ends with 1 if a test fails in a group that does not fail in the same way without. Some of the tests compile
extensions, for which they want meson, ninja and cython.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

SITE = Path(np.__file__).parents[1]
DEFAULT = ["numpy._core", "numpy.lib"]


class InGroup:
    """A plugin that runs each test, its setup and its teardown with a group of its own."""

    def __init__(self) -> None:
        self.tests = self.allocated = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Run a test."""
        import memgroup

        group = memgroup.MemGroup(name="numpy-suite")
        with group.numpy():
            result = yield
        self.tests += 1
        self.allocated += group.stats().committed > 0
        return result  # arrays that outlive the test keep the group


class Outcomes:
    """A plugin that notes how each test ended."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the worst outcome of setup, test and teardown."""
        outcome = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
        if report.when == "call" or outcome != "passed":
            self.outcomes[report.nodeid] = outcome


def run(place: str, arguments: list[str], in_group: bool) -> None:
    """Run the tests in this process and write how they ended to a file."""
    outcomes, plugin = Outcomes(), InGroup()
    options = [
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(SITE),
        "--tb=short",
    ]
    plugins: list[object] = [outcomes, plugin] if in_group else [outcomes]
    code = pytest.main([*options, *arguments], plugins=plugins)
    Path(place).write_text(
        json.dumps(
            {
                "code": int(code),
                "outcomes": outcomes.outcomes,
                "tests": plugin.tests,
                "allocated": plugin.allocated,
            }
        )
    )


def outcomes_of(arguments: list[str], mode: str) -> dict[str, object]:
    """Run the tests in a process of their own."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "outcomes.json")
        command = [sys.executable, __file__, mode, str(place), *arguments]
        # numpy's tests write to the directory that they are run in.
        ended = subprocess.run(command, cwd=directory, check=False)
        if not place.exists():
            sys.exit(f"the tests {mode} died: {ended.returncode}")
        return json.loads(place.read_text())


def main(arguments: list[str]) -> int:
    """Run the tests both ways and compare."""
    packages = []
    while arguments and not arguments[0].startswith("-"):
        packages.append(arguments.pop(0))
    places = [str(SITE.joinpath(*package.split("."))) for package in packages or DEFAULT]
    selected = [place if Path(place).is_dir() else place + ".py" for place in places] + arguments
    without, within = outcomes_of(selected, "--without"), outcomes_of(selected, "--within")
    before, after = without["outcomes"], within["outcomes"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    for name, outcomes in (("without", before), ("within", after)):
        print(f"{name}: {dict(Counter(outcomes.values()))}")
    print(f"{within['allocated']} of {within['tests']} tests made arrays in their group")
    worse = 0
    for test in sorted(before.keys() | after.keys()):
        if after.get(test) != before.get(test):
            print(f"{test}: {before.get(test)} without, {after.get(test)} within")
            worse += after.get(test) not in ("passed", "xfailed", "skipped")
    return int(worse > 0 or not within["allocated"])


if __name__ == "__main__":
    if sys.argv[1:2] in (["--without"], ["--within"]):
        run(sys.argv[2], sys.argv[3:], in_group=sys.argv[1] == "--within")
    else:
        sys.exit(main(sys.argv[1:]))
