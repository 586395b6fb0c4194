"""The experimental design with a context for each process, and the page that compares the designs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from support.machines import family

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    """The script that compares the designs."""
    spec = importlib.util.spec_from_file_location("designs", ROOT / "benches" / "designs.py")
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, str(ROOT / "benches"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "benches"))
    return module


def test_the_page_and_the_plot_show_what_the_model_counts(script):
    found = script.compared()
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page_with(script.table(found)) == text, "run python benches/designs.py --write"
    assert "\n".join(script.plot(found)) + "\n" == script.PLOT.read_text(encoding="utf-8")


def test_a_process_has_one_context_for_all_its_mappings():
    machine, first = family("cow_context")
    starts = [first.mmap(2).start for _ in range(10)]
    for start in starts:
        first.write(start)
    children = first.fork(5)
    counts = machine.counts()
    assert (counts["anon_vmas"], counts["chains"]) == (6, 0)
    assert len({vma.anon_vma for vma in children[0].vmas()}) == 1
    assert machine.check() == []


def test_a_context_outlives_its_process_while_those_of_children_exist():
    machine, first = family("cow_context")
    start = first.mmap(1).start
    page = first.write(start)
    child = first.fork()
    grandchild = child.fork()
    child.exit()
    first.exit()
    assert machine.counts()["anon_vmas"] == 3
    assert machine.walk(page) == [(grandchild, grandchild.vmas()[0])]
    assert machine.walk_visits(page) == 3  # two of them are of processes that have exited
    assert machine.check() == []
    grandchild.exit()
    assert machine.counts()["anon_vmas"] == 0


def test_a_page_is_found_wherever_it_was_moved():
    machine, first = family("cow_context")
    start = first.mmap(1).start
    page = first.write(start)
    child = first.fork()
    child.mremap(start, 1, start + 1000)
    assert [process for process, _ in machine.walk(page)] == [first, child]
    assert machine.check() == []


def test_a_process_without_memory_of_its_own_keeps_its_context_for_its_children():
    machine, first = family("cow_context")
    start = first.mmap(1).start
    page = first.write(start)
    child = first.fork()
    first.munmap(start, 1)
    assert machine.walk_visits(page) == 2
    again = first.write(first.mmap(1).start)
    assert machine.counts()["anon_vmas"] == 2
    child.exit()
    assert machine.walk_visits(again) == 1
    assert machine.check() == []
