"""The Python in README.md and docs/ runs, and its assertions hold."""

import re
from pathlib import Path

import memgroup
import pytest

ROOT = Path(__file__).parent.parent

SAMPLES = [
    pytest.param(sample, id=f"{page.name}-{number}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, sample in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def test_there_are_samples():
    assert len(SAMPLES) >= 2


@pytest.mark.parametrize("sample", SAMPLES)
# A sample about warm memory begins with none, and the limit is put back behind it.
@pytest.mark.usefixtures("cold")
# Assertions are the point of a sample, and a view that outlasts its group is what one of them shows.
@pytest.mark.filterwarnings("ignore:.*live view:ResourceWarning")
def test_a_sample_runs(sample):
    names = {"memgroup": memgroup, "found": [b"ab", b"c"]}
    if "np." in sample:
        names["np"] = pytest.importorskip("numpy")
    exec(sample, names)
