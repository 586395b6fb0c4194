"""The cost of a fork: predicted, measured, shown; and no process is left behind. No duration is asserted."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from conftest import memory_available
from hypothesis import given
from hypothesis import strategies as st
from memgroup._memgroup import memory_facts
from memgroup.forkcost import DEFAULT_BACKINGS, Walks, compare, measure, predict
from memgroup.forkcost import _machine as machine_module
from memgroup.forkcost import _predict as predict_module
from memgroup.forkcost._backing import read_backing
from memgroup.forkcost._objects import kernel_objects
from memgroup.forkcost._report import advice, as_json, report
from memgroup.forkcost._shape import read_shape
from memgroup.rmap import POLICIES
from support.forkcosts import MIB

SHAPES = st.one_of(
    st.integers(0, 200).map("star:{}".format),
    st.integers(0, 60).map("chain:{}".format),
    st.integers(0, 6).map("tree:{}".format),
    st.tuples(st.integers(0, 3), st.integers(0, 6)).map(lambda both: "tree:{}:{}".format(*both)),
)


class TestShape:
    @given(SHAPES)
    def test_counting_gives_the_same_numbers_as_walking(self, name):
        shape = read_shape(name)
        depths, left = {0: 0}, [0]
        while left:
            parent = left.pop()
            for child in shape.children_of(parent):
                assert child not in depths
                depths[child] = depths[parent] + 1
                left.append(child)
        assert sorted(depths) == list(range(shape.processes))
        assert shape.ancestry == sum(depth + 1 for depth in depths.values())

    def test_names(self):
        assert read_shape("tree:2:1000").processes == 1_001_001
        assert read_shape("star:0").processes == read_shape("tree:5:0").processes == 1
        assert read_shape("chain:4194303").ancestry == 4194304 * 4194305 // 2

    @pytest.mark.parametrize(
        "name", ["", "star", "star:", "star:-1", "star:1:2", "ring:3", "chain:1e3", "tree:²"]
    )
    def test_invalid_shapes(self, name):
        with pytest.raises(ValueError, match=r"not a shape: .*there are star:N"):
            read_shape(name)

    @pytest.mark.parametrize("name", ["star:4194304", "chain:4194304", "tree:22", "tree:999999999:999999999"])
    def test_more_processes_than_linux_has_numbers(self, name):
        with pytest.raises(ValueError, match="more processes than Linux can number: 4,194,304"):
            read_shape(name)


class TestPredict:
    @given(
        SHAPES,
        st.integers(1, 5),
        st.sampled_from(["memfd", "memfd+dontfork", "anonymous", "anonymous+dontfork", "none"]),
        st.sampled_from(POLICIES),
    )
    def test_the_closed_forms_are_the_model(self, shape, mappings, backing, policy):
        def both():
            return predict(MIB, backing, shape, mappings=mappings, policy=policy)

        played = both()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(predict_module, "_PLAYED", -1)
            counted = both()
        assert counted.method == "closed form"
        assert replace(counted, method=played.method) == played

    def test_the_headline_of_2010(self):
        now = predict(4096, "anonymous", "tree:2:1000")
        assert (now.processes, now.anon_vmas, now.chains) == (1_001_001, 1_001_001, 3_002_001)
        assert (now.walks.first, now.walks.child, now.walks.last) == (1_001_001, 1001, 1)

    def test_designs(self):
        walks = {
            policy: predict(4096, "anonymous", "tree:2:30", policy=policy).walks
            for policy in ("scan24", "shared26", "avc_34", "modern")
        }
        assert walks["modern"].child == 31
        assert walks["shared26"].last == walks["avc_34"].last == walks["scan24"].last == 931

    def test_a_scan_visits_every_mirror_of_every_slot(self):
        told = predict(3 * 4096, "memfd", "star:4", mappings=3, policy="scan24")
        assert told.method == "model"
        assert told.walks == Walks(2 * 3 * 5, 2 * 3 * 5, 2 * 3 * 5)
        assert predict(3 * 4096, "memfd", "star:4", mappings=3).walks.first == 2 * 5

    def test_no_family_is_too_large_for_any_design(self):
        for policy in POLICIES:
            for backing in ("memfd", "anonymous+huge"):
                told = predict(8192, backing, "tree:2:1000", policy=policy, mappings=2)
                assert told.method == "closed form"
                mirrors = 2 if backing == "memfd" else 1
                slots = 2 if policy == "scan24" else 1
                assert told.walks.first == mirrors * slots * 1_001_001

    def test_bytes(self):
        told = predict(1 << 30, "anonymous", "star:10")
        sizes = {one.name: one.nbytes for one in told.objects}
        expected = sizes["vm_area_struct"] * 11 + sizes["anon_vma"] * 11 + sizes["anon_vma_chain"] * 21
        assert told.object_bytes == expected
        assert (told.tables_per_fork, told.table_bytes) == (513, 513 * 11 * 4096)
        kept = predict(1 << 30, "anonymous+dontfork", "star:10")
        assert (kept.vmas, kept.tables_per_fork, kept.walks.first) == (1, 0, 1)
        shared = predict(1 << 30, "memfd", "star:10")
        assert (shared.vmas, shared.anon_vmas, shared.tables_per_fork) == (22, 0, 0)
        assert shared.walks.last == 22  # sharing does not shorten the walk

    def test_sizes_of_objects_are_read_where_they_can_be(self, tmp_path):
        (tmp_path / "anon_vma").mkdir()
        (tmp_path / "anon_vma" / "object_size").write_text("104\n")
        found = {one.name: one for one in kernel_objects(tmp_path)}
        assert (found["anon_vma"].nbytes, found["anon_vma"].source) == (
            104,
            f"{tmp_path}/anon_vma/object_size",
        )
        assert found["anon_vma_chain"].nbytes == 64
        assert "6.18" in found["anon_vma_chain"].source

    def test_results_are_frozen_and_plain(self):
        told = predict(MIB)
        with pytest.raises(FrozenInstanceError):
            told.nbytes = 1  # type: ignore[misc]
        facts = told.as_dict()
        assert json.loads(json.dumps(facts)) == facts
        assert facts["walks"] == {"first": 4, "child": 4, "last": 4}

    @pytest.mark.parametrize(
        ("words", "arguments"),
        [
            ("at least one byte, not 0", (0,)),
            ("no advice is called 'wipe'", (1, "memfd+wipe")),
            ("no memory to advise", (1, "none+huge")),
            ("a backing is none, memfd", (1, "+huge")),
            ("not a shape", (1, "memfd", "ring")),
        ],
    )
    def test_bad_arguments(self, words, arguments):
        with pytest.raises(ValueError, match=words):
            predict(*arguments)

    def test_bad_options(self):
        with pytest.raises(ValueError, match="from 1 to the number of pages, 2; not 3"):
            predict(8192, mappings=3)
        with pytest.raises(ValueError, match="no design is called 'linux'; there are scan24"):
            predict(8192, policy="linux")

    def test_a_directory_may_have_any_name(self):
        assert read_backing("/a+b").kind == "/a+b"
        assert read_backing("/a+huge") == ("/a+huge", "/a", True, False)


class TestMeasure:
    def test_only_private_memory_has_its_page_tables_copied(self, measured):
        nothing = measured["none"]
        copied = measured["anonymous"].prediction.tables_per_fork * 4096
        assert copied == 129 * 4096
        for backing in ("memfd", "memfd+huge", "anonymous+dontfork"):
            assert abs(measured[backing].tables - nothing.tables) <= 6 * 4096
        for backing in ("anonymous", "anonymous+huge"):
            assert abs(measured[backing].tables - nothing.tables - copied) <= 6 * 4096

    def test_touching_the_memory_faults_its_pages(self, measured):
        pages = 256 * MIB // 4096
        memfd, anonymous = measured["memfd"], measured["anonymous"]
        assert memfd.read_faults is not None
        assert memfd.write_faults is not None
        assert anonymous.read_faults is not None
        assert anonymous.write_faults is not None
        assert memfd.read_faults >= pages // 512  # its page tables come with the first touch
        assert memfd.write_faults <= pages // 100
        assert anonymous.read_faults <= pages // 100
        assert anonymous.write_faults >= pages  # each is copied

    def test_half_of_private_memory_counts_as_the_childs_and_no_untouched_shared_memory(self, measured):
        assert measured["memfd"].pss < MIB
        assert measured["anonymous+dontfork"].pss < MIB
        assert 126 * MIB < measured["anonymous"].pss < 130 * MIB

    def test_memory_kept_from_the_child_is_not_touched(self, measured):
        for backing in ("none", "anonymous+dontfork"):
            assert measured[backing].read_faults is measured[backing].write_time is None

    def test_advice_comes_from_the_figures(self, measured):
        said = advice(list(measured.values()))
        assert "cheaper than anonymous" in said
        memfd = replace(measured["memfd"], fork=0.001, tables=4096)
        dear = replace(measured["anonymous"], fork=0.129, tables=4096 + MIB)
        assert advice([memfd, dear]) == (
            "memfd makes this fork 129 × cheaper than anonymous: 1 ms instead of 129 ms, "
            "1 MiB of page tables less in each child. Parent and child then share what they write."
        )
        assert "makes no difference" in advice([memfd, replace(dear, fork=0.0011)])
        nothing = replace(measured["none"], fork=0.001)
        assert advice([nothing, memfd]) == "Forking with memfd costs no more than forking with nothing."
        assert "costs 129 × what it costs with nothing; a memfd group" in advice([nothing, dear])
        assert "beside none" in advice([dear])

    def test_reports(self, measured):
        shown = report(list(measured.values()))
        assert [len(table.rows) for table in shown.tables] == [6, 4, 5]
        facts = json.loads(as_json(list(measured.values())))
        assert [one["prediction"]["backing"] for one in facts["measurements"]] == list(DEFAULT_BACKINGS)

    @pytest.mark.parametrize("shape", ["star:5", "chain:6", "tree:3", "tree:2:3"])
    def test_families(self, shape):
        shared, private = compare(MIB, ["memfd", "anonymous"], shape, mappings=16, rounds=2)
        assert private.write_faults is not None
        assert private.write_faults >= 256
        assert shared.write_faults is not None
        assert shared.write_faults < 256
        assert private.prediction.chains == 16 * read_shape(shape).ancestry

    def test_a_directory(self, tmp_path):
        one = measure(MIB, str(tmp_path), rounds=1)
        assert one.write_faults is not None
        assert one.backing == str(tmp_path)

    def test_from_a_process_with_threads_and_memory_of_its_own(self):
        mine = bytearray(64 * MIB)
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        try:
            assert measure(MIB, rounds=1).tables < MIB // 2
        finally:
            stop.set()
            thread.join()
        assert len(mine) == 64 * MIB

    def test_a_watch_is_told(self):
        told: list[tuple[str, Callable[[], int], int | None]] = []

        def watch(step: str, done: Callable[[], int], total: int | None) -> None:
            told.append((step, done, total))

        compare(MIB, ["none", "memfd"], rounds=2, watch=watch)
        assert [(name, done(), total) for name, done, total in told] == [("none", 2, 2), ("memfd", 2, 2)]


class TestBounds:
    """A family that the machine has no room for is refused before the first fork."""

    @pytest.fixture(autouse=True)
    def no_helper(self, monkeypatch):
        def popen(*arguments, **options):
            pytest.fail("something was started")

        monkeypatch.setattr(subprocess, "Popen", popen)

    def test_memory(self):
        with pytest.raises(
            MemoryError, match=r"star:1 with 8 EiB of memfd takes up to .* are available.*smaller"
        ):
            measure(8 << 60)
        half = memory_available() * 6 // 10
        with pytest.raises(MemoryError, match="smaller size"):
            measure(half, "anonymous")  # a child that writes copies all of it

    def test_one_that_does_not_fit_stops_those_that_do(self):
        with pytest.raises(MemoryError):
            compare(memory_available() * 6 // 10, ["none", "anonymous"])

    def test_processes(self, monkeypatch):
        with pytest.raises(ValueError, match=r"star:20000 has 20,001 processes, and .* allows"):
            measure(4096, shape="star:20000")
        monkeypatch.setattr(machine_module, "memory_facts", lambda: memory_facts() | {"processes_left": 5})
        with pytest.raises(ValueError, match=r"the cgroup \(pids.max\) allows 5; measure a smaller family"):
            measure(4096, shape="star:5")

    def test_the_cgroup_with_least_left_decides(self):
        def left(*levels, available=5000):
            names = ("limit", "usage", "reclaimable")
            cgroups = [dict(zip(names, level, strict=True)) for level in levels]
            facts: Any = {"available": available, "cgroups": cgroups}
            return machine_module.available_bytes(facts)

        assert left() == left((None, 9000, 0)) == 5000
        assert left((None, 10, 0), (1000, 900, 0)) == 100
        assert left((1000, 900, 600)) == 700  # the page cache that nobody looks at makes room
        assert left((1000, 1200, 0)) == 0

    def test_no_processes_to_fork(self):
        with pytest.raises(ValueError, match="star:0 forks no process"):
            measure(4096, shape="star:0")
        with pytest.raises(ValueError, match="rounds must be at least 1, not 0"):
            measure(4096, rounds=0)
