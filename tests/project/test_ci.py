""".ci/run, the hosted workflows and CONTRIBUTING all call the scripts in .ci."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.name for path in (ROOT / ".ci").iterdir() if os.access(path, os.X_OK)}
CHECKS = SCRIPTS - {"run", "arm64", "exhaustion", "kernels", "sanitize"}  # the checks of .ci/run
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def named_in(text: str) -> set[str]:
    return set(re.findall(r"\.ci/(\w+)", text))


def files_named_in(script: str) -> set[str]:
    return set(re.findall(r"\btests/[\w/]+\.py", (ROOT / ".ci" / script).read_text()))


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_names_tests_that_exist(script):
    assert {path for path in files_named_in(script) if not (ROOT / path).is_file()} == set()


def test_the_gate_calls_every_check():
    (loop,) = re.findall(r"for check in (.*); do", (ROOT / ".ci/run").read_text())
    assert {step.strip('"').split()[0] for step in re.findall(r'"[^"]*"|\w+', loop)} == CHECKS


def test_contributing_names_every_script():
    assert named_in((ROOT / "CONTRIBUTING.md").read_text()) >= SCRIPTS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_scripts_that_exist_and_says_what_it_may(workflow):
    text = workflow.read_text()
    assert named_in(text) <= SCRIPTS
    assert "\npermissions:" in text
    assert "\nconcurrency:" in text


def test_every_check_is_called_by_a_workflow():
    assert set.union(*(named_in(workflow.read_text()) for workflow in WORKFLOWS)) >= CHECKS - {"package"}


def test_workflows_use_one_version_of_each_action():
    used = {use for workflow in WORKFLOWS for use in re.findall(r"uses: (\S+)", workflow.read_text())}
    versions = [use.split("@")[0] for use in used if not use.startswith("dtolnay/rust-toolchain@")]
    assert len(versions) == len(set(versions))
