"""The Python in README.md and docs/ runs, and its assertions hold; so do the commands in consoles."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import ROOT, fenced

DOCS = ROOT / "docs"

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
# The samples of each of these pages form one program; every other sample is its own program.
STORIES = [
    page
    for page in PAGES
    if page.parent.name in {"howto", "explanation"} or page.name in {"README.md", "tutorial.md"}
]
# Optional packages that a sample may import.
OPTIONAL = {"numpy", "pandas", "pyarrow", "polars", "duckdb", "torch", "uvloop", "dask", "google"}


def same(shown: str, printed: str) -> bool:
    """Whether the output is as shown; "..." matches anything."""
    return doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)


def skip_without(sample: str) -> None:
    for name in re.findall(r"^\s*(?:import|from) (\w+)", sample, re.MULTILINE):
        if name in OPTIONAL:
            pytest.importorskip(name)


SAMPLES = [
    pytest.param(page, line, sample, id=f"{page.relative_to(ROOT)}:{line}")
    for page in PAGES
    if page not in STORIES
    for line, sample in fenced(page, "python")
]

CONSOLES = [
    pytest.param(text, id=f"{page.relative_to(ROOT)}:{line}")
    for page in PAGES
    for line, text in fenced(page, "console")
]


def test_there_are_samples():
    assert len(SAMPLES) >= 2
    assert len(STORIES) >= 2
    assert CONSOLES


@pytest.mark.parametrize(("page", "line", "sample"), SAMPLES)
# A sample about warm memory starts without any, and the limit is restored afterwards.
@pytest.mark.usefixtures("cold")
def test_a_sample_runs(page, line, sample, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    skip_without(sample)
    # Tracebacks name the line of the page. The sample gets no names, and pytest turns warnings into errors.
    exec(compile("\n" * line + sample, page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", STORIES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_story_runs(page, tmp_path, request):
    samples = fenced(page, "python")
    script = ""
    for line, sample in samples:
        skip_without(sample)
        script += "\n" * (line - script.count("\n")) + sample
    (tmp_path / "story.py").write_text(script, encoding="utf-8")
    servers = {"PGHOST": str(request.getfixturevalue("postgres"))} if "PGHOST" in script else {}
    # In a separate process, because some samples fork.
    done = subprocess.run(
        [sys.executable, "-W", "error", "story.py"],
        cwd=tmp_path,
        env={**os.environ, **servers},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{page}, lines as in the page"
    for _, shown in fenced(page, "text"):
        assert same(f"...{shown}...", done.stdout), done.stdout


@pytest.mark.parametrize("console", CONSOLES)
def test_a_console_shows_the_output_of_its_command(console, tmp_path):
    (tmp_path / "greeting").write_text("hello")
    scripts = os.path.dirname(sys.executable)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "error"}
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE):
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert same(shown, done.stdout), done.stdout


def test_every_link_within_the_docs_leads_somewhere():
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                file, _, anchor = target.partition("#")
                there = (page.parent / file) if file else page
                assert there.exists(), f"{page.relative_to(ROOT)} links to {target}"
                if anchor and there.suffix == ".md":
                    assert anchor in anchors(there), f"{page.relative_to(ROOT)} links to {target}"


def anchors(page: Path) -> set[str]:
    """The names that headings are given by renderers."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
