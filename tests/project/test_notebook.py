"""The notebook of the docs runs, and what is stored in it is what it prints and shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from support.pages import ROOT

pytest.importorskip("polars", reason="the notebook counts with polars")
pytest.importorskip("matplotlib", reason="the notebook plots")

DOCS = ROOT / "docs"


def code(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def form(output: dict) -> tuple[list[str], str]:
    """The kinds of an output; what it prints, without what differs by machine."""
    printed = re.sub(r"\d[\d.,]*|b'.*'|[KM]iB", "#", "".join(output.get("text", [])))
    return [output["output_type"], *sorted(output.get("data", []))], " ".join(printed.split())


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads((DOCS / "tour.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_runs_and_shows_what_is_stored(stored, tmp_path):
    target = tmp_path / "tour.ipynb"
    # -W error: no library warns of what the notebook does.
    done = subprocess.run(
        [sys.executable, "-W", "error", DOCS / "notebook.py", target],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ran = json.loads(target.read_text(encoding="utf-8"))
    for kept, new in zip(code(stored), code(ran), strict=True):
        assert kept["source"] == new["source"]
        assert [form(output) for output in kept["outputs"]] == [form(output) for output in new["outputs"]]


def test_no_output_is_missing(stored):
    assert [cell["execution_count"] for cell in code(stored)] == list(range(1, len(code(stored)) + 1))
    kinds = {kind for cell in code(stored) for output in cell["outputs"] for kind in form(output)[0]}
    assert {"stream", "text/html", "image/svg+xml"} <= kinds
