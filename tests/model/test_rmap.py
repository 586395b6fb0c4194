"""The reverse-mapping model from Python: its stories, its errors, who maps a page, against plain dicts."""

from __future__ import annotations

import gc
import itertools
import platform
import weakref

import pytest
from memgroup.rmap import POLICIES, Broken, Machine, Process, Vma
from support.machines import family

# Subject of the model


def test_the_designs():
    assert POLICIES == (
        "scan24",
        "shared26",
        "avc_rc1",
        "avc_34",
        "avc_36",
        "degree319",
        "modern",
        "linux70",
        "cow_context",
    )
    assert Machine().policy == "linux70"
    assert Machine().kernel is None
    assert Machine(policy="avc_rc1").clone_order == "reverses"


def test_a_machine_follows_a_kernel():
    for kernel, policy in [("2.4.37", "scan24"), ("5.10.46", "degree319"), ("5.10.223-1", "modern")]:
        machine = Machine(kernel=kernel)
        assert (machine.policy, machine.kernel) == (policy, kernel.removesuffix("-1"))
    assert Machine(kernel="7.2").policy == "linux70"
    running = Machine("running")
    assert running.kernel is not None
    assert running.kernel.split(".")[:2] == platform.release().split(".")[:2]
    assert Machine(kernel=running.kernel).policy == running.policy


def test_a_machine_follows_one_design():
    with pytest.raises(ValueError, match="policy and kernel both name a design: leave one of them out"):
        Machine("modern", kernel="6.18")
    with pytest.raises(
        ValueError, match=r"kernel must be a version of Linux from 2\.4 on, .* not \"latest\""
    ):
        Machine(kernel="latest")
    with pytest.raises(TypeError, match="kernel must be a str, not float"):
        Machine(kernel=6.18)  # type: ignore[arg-type]


def test_objects_of_a_star_and_of_a_chain():
    for policy in ("linux70", "modern", "avc_36"):
        machine, first = family(policy)
        for _ in range(10):
            first.write(first.mmap(1).start)
        children = first.fork(1000)
        assert [child.pid for child in children] == list(range(2, 1002))
        counts = machine.counts()
        assert (counts["anon_vmas"], counts["chains"]) == (10_010, 20_010)
        for child in children:
            child.exit()
        counts = machine.counts()
        assert (counts["anon_vmas"], counts["chains"]) == (10, 10)
        assert (counts["anon_vmas_total"], counts["chains_total"]) == (10_010, 20_010)

        last = first
        for _ in range(100):
            last = last.fork()
        counts = machine.counts()
        assert (counts["anon_vmas"], counts["chains"]) == (1_010, 51_510)
        assert machine.check() == []


@pytest.mark.parametrize("policy", POLICIES)
def test_the_seed(policy):
    machine, a = family(policy)
    start = a.mmap(1).start
    page = a.write(start)
    b = a.fork()
    assert machine.swap_out(page)
    assert machine.walk(page) == []
    assert b.read(start) == page
    assert a.read(start) == page
    before = machine.check()
    b.exit()
    after = machine.check()
    if policy != "avc_rc1":
        assert before == after == []
        assert machine.mapped_by(page) == [a]
        assert machine.swap_out(page)
        return
    (lost,), (dangling,) = before, after
    assert (lost.invariant, lost.page, lost.process) == (2, page, a)
    assert (dangling.invariant, dangling.page, dangling.process) == (1, page, a)
    assert str(dangling) == f"invariant 1: page {page}, process 1, its mapping, anon_vma 1, is freed"
    assert repr(dangling) == f"<Broken {dangling}>"
    assert not machine.swap_out(page)


def test_the_oldest_rule_without_the_clone_order_dangles_at_depth_2():
    def broken(depth, order):
        machine, first = family("avc_34", clone_order=order)
        start = first.mmap(1).start
        page = first.write(start)
        line = [first]
        for _ in range(depth):
            line.append(line[-1].fork())
        machine.swap_out(page)
        line[-1].read(start)
        first.read(start)
        for process in line[:0:-1]:
            process.exit()
        return [one.invariant for one in machine.check()]

    assert broken(1, "reverses") == []
    assert broken(2, "reverses") == [1]
    assert broken(2, "keeps") == broken(2, None) == []


@pytest.mark.parametrize(
    ("policy", "visits"),
    [
        ("scan24", [931, 931, 931]),
        ("shared26", [931, 931, 931]),
        ("avc_34", [931, 931, 931]),
        ("avc_36", [931, 31, 1]),
        ("modern", [931, 31, 1]),
        ("linux70", [931, 31, 1]),
    ],
)
def test_three_generations(policy, visits):
    machine, first = family(policy)
    start = first.mmap(3).start
    for page in range(start, start + 3):
        first.write(page)
    children = first.fork(30)
    copied = children[3].write(start + 1)
    grandchildren = [child.fork(30) for child in children]
    private = grandchildren[3][4].write(start + 2)
    shared = first.page(start)
    assert shared is not None
    assert [machine.walk_visits(page) for page in (shared, copied, private)] == visits
    everybody = [first, *children, *itertools.chain(*grandchildren)]
    assert machine.mapped_by(shared) == everybody
    assert machine.mapped_by(copied) == [children[3], *grandchildren[3]]
    assert machine.mapped_by(private) == [grandchildren[3][4]]
    assert machine.counts()["copies"] == 2
    walk = machine.walk(shared)
    assert sorted(process.pid for process, _ in walk) == [process.pid for process in everybody]
    assert all(vma.process == process and vma.start == start for process, vma in walk)
    assert machine.unmap_visits(shared) == 931


def test_a_lineage_keeps_its_chain_short_since_3_19():
    for policy, length in [("linux70", 3), ("modern", 3), ("avc_34", 401), ("avc_36", 401)]:
        _, last = family(policy)
        last.write(last.mmap(1).start)
        for _ in range(400):
            child = last.fork()
            last.exit()
            last = child
        (vma,) = last.vmas()
        assert len(vma.chain) == length
        assert vma.anon_vma in vma.chain


def test_the_shortest_history_that_tells_7_0_from_before():
    taken_over = {}
    for policy in ("modern", "linux70"):
        _, first = family(policy)
        first.write(first.mmap(1).start)
        line = [first]
        for _ in range(4):
            line.append(line[-1].fork())
        line[1].exit()
        line[2].exit()
        (vma,) = line[4].fork().vmas()
        taken_over[policy] = vma.anon_vma
    assert taken_over == {"modern": 1, "linux70": 2}


# Moving pages


def moved_beside_untouched(kernel, *, dontunmap):
    """A page moves away and back, beside a mapping that nobody has touched."""
    machine = Machine(kernel=kernel)
    process = machine.spawn()
    process.mmap(1, at=16)
    page = process.write(16)
    process.mremap(16, 1, 100)
    process.mmap(1, at=15)
    vma = process.mremap(100, 1, 16, dontunmap=dontunmap)
    assert process.page(16) == page
    assert vma.stop == 17
    return machine, page


@pytest.mark.parametrize("dontunmap", [False, True])
def test_the_story_of_6_16(dontunmap):
    for kernel in ("6.16", "6.17", "6.18.7"):
        machine, page = moved_beside_untouched(kernel, dontunmap=dontunmap)
        (broken,) = machine.check()
        assert (broken.invariant, broken.page) == (1, page)
        assert machine.walk(page) == []
    for kernel in ("5.10.46", "6.15", "6.18.8", "6.19", "7.0"):
        machine, page = moved_beside_untouched(kernel, dontunmap=dontunmap)
        assert machine.check() == []
        # Before 5.13 the range that the pages left keeps its chain, and the walk looks there, too.
        places = 2 if dontunmap and kernel == "5.10.46" else 1
        assert [process.pid for process, _ in machine.walk(page)] == [1] * places


def test_moved_pages_keep_their_index():
    machine, process = family()
    process.mmap(3, at=16)
    pages = [process.write(page) for page in (16, 17, 18)]
    child = process.fork()
    vma = process.mremap(17, 2, 40)
    assert (vma.start, vma.stop, vma.index) == (40, 42, 17)
    assert [one.index for one in child.vmas()] == [16]
    assert [process.page(40), process.page(41)] == pages[1:]
    assert [row["index"] for row in machine.graph()["vmas"]] == [16, 17, 16]
    assert machine.mapped_by(pages[2]) == [process, child]
    assert machine.swap_out(pages[2])
    assert process.read(41) == pages[2]
    with pytest.raises(ValueError, match="overlap"):
        process.mremap(40, 2, 41)
    with pytest.raises(LookupError, match="page 17 is not mapped in process 1"):
        process.mremap(17, 1, 60)
    process.mmap(1, at=15, prot="r")
    with pytest.raises(ValueError, match="of several VMAs of process 1, the next from page 16 on"):
        process.mremap(15, 2, 60)


# Ranges


def test_a_vma_shows_its_current_state():
    machine, process = family()
    vma = process.mmap(4, at=100)
    assert (vma.start, vma.stop, vma.pages, vma.prot, vma.shared) == (100, 104, 4, "rw", False)
    assert (vma.anon_vma, vma.chain, vma.process) == (None, (), process)
    process.write(101)
    assert vma.chain == (vma.anon_vma,)
    process.mprotect(100, 1, "r")
    assert [(one.start, one.stop, one.prot) for one in process.vmas()] == [(100, 101, "r"), (101, 104, "rw")]
    assert (vma.start, repr(vma)) in [
        (100, "<Vma 100:101 r-- of process 1>"),
        (101, "<Vma 101:104 rw- of process 1>"),
    ]
    process.mprotect(100, 1, "rw")
    (whole,) = process.vmas()
    assert whole.pages == 4
    process.munmap(100, 4)
    with pytest.raises(ValueError, match="gone"):
        _ = whole.start
    assert repr(whole) == "<Vma of process 1, gone>"
    assert process.vmas() == []
    assert machine.counts()["vmas"] == 0


def test_shared_mappings_are_never_copied():
    machine, parent = family()
    start = parent.mmap(2, shared=True).start
    child = parent.fork()
    page = child.write(start)
    assert parent.page(start) is None  # not faulted in yet
    assert parent.write(start) == page
    assert machine.mapped_by(page) == [parent, child]
    counts = machine.counts()
    assert (counts["anon_vmas"], counts["chains"], counts["copies"]) == (0, 0, 0)


def test_advice_about_forks():
    _, parent = family()
    start = parent.mmap(4).start
    for page in range(start, start + 4):
        parent.write(page)
    parent.madvise(start, 1, "dontfork")
    parent.madvise(start + 1, 1, "wipeonfork")
    child = parent.fork()
    with pytest.raises(LookupError, match=f"page {start} is not mapped in process 2"):
        child.read(start)
    assert child.page(start + 1) is None
    assert child.page(start + 2) == parent.page(start + 2)
    parent.madvise(start, 1, "dofork")
    parent.madvise(start + 1, 1, "keeponfork")
    assert len(parent.vmas()) == 1


def test_mappings_that_choose_their_place_stay_apart():
    _, process = family()
    vmas = [process.mmap(3) for _ in range(5)]
    assert process.vmas() == vmas
    assert all(one.stop < after.start for one, after in itertools.pairwise(vmas))
    assert process.mmap(1, at=vmas[-1].stop) == vmas[-1]


# The state as data


def test_the_graph_is_plain_data():
    machine, parent = family()
    start = parent.mmap(2).start
    page = parent.write(start)
    child = parent.fork()
    copy = child.write(start)
    graph = machine.graph()
    assert graph["processes"] == [{"pid": 1, "parent": 0}, {"pid": 2, "parent": 1}]
    mine, its = graph["vmas"]
    assert (mine["process"], its["process"], mine["start"], its["stop"]) == (1, 2, start, start + 2)
    (root, own) = graph["anon_vmas"]
    assert (root["parent"], own["parent"], own["root"]) == (root["id"], root["id"], root["id"])
    assert (root["children"], root["active"], root["references"]) == (2, 1, 2)
    assert (root["members"], own["members"]) == ([mine["id"], its["id"]], [its["id"]])
    assert (mine["chain"], its["chain"]) == ([root["id"]], [own["id"], root["id"]])
    assert its["anon_vma"] == own["id"]
    assert graph["pages"] == [
        {
            "id": id_,
            "index": start,
            "mapping": mapping["id"],
            "dangling": False,
            "shared": False,
            "mapped_by": [pid],
            "swapped_by": [],
        }
        for id_, mapping, pid in [(page, root, 1), (copy, own, 2)]
    ]
    machine.swap_out(copy)
    assert machine.graph()["pages"][1]["swapped_by"] == [2]
    assert [vma.id for vma in parent.vmas()] == [mine["id"]]


# Names


def test_processes_and_vmas_compare_by_what_they_name():
    machine, parent = family()
    vma = parent.mmap(1)
    child = parent.fork()
    assert machine.processes() == [parent, child]
    assert parent.machine is machine
    assert {parent, child} == set(machine.processes())
    assert {vma} == set(parent.vmas())
    other, stranger = family()
    assert stranger != parent
    assert stranger.mmap(1) != vma
    assert parent != 1
    assert other.processes() == [stranger]
    assert repr(parent) == "<Process 1>"
    child.exit()
    assert repr(child) == "<Process 2, exited>"
    assert (child.alive, child.pid, child.machine) == (False, 2, machine)
    assert repr(machine) == "<Machine policy='modern' processes=1 pages=0>"
    assert {type(one).__module__ for one in (machine, parent, vma)} == {"memgroup.rmap"}


def test_a_machine_lives_as_long_as_what_it_made():
    machine, process = family()
    vma = process.mmap(1)
    gone = weakref.ref(machine)
    del machine, process
    gc.collect()
    assert vma.process.write(vma.start) == 0
    del vma
    gc.collect()
    assert gone() is None


def test_only_a_machine_makes_its_objects():
    for made in (Process, Vma, Broken):
        with pytest.raises(TypeError):
            made()  # type: ignore[call-arg]


def test_importing_memgroup_does_not_load_the_model(child):
    code = """
    import memgroup._memgroup as compiled
    print("memgroup.rmap" in sys.modules, "Machine" in vars(compiled))
    from memgroup.rmap import Machine
    print(compiled.Machine is Machine, "Machine" in vars(compiled), outcome(lambda: compiled.Tractor))
    """
    assert child.output(code).splitlines() == [
        "False False",
        "True True AttributeError: module 'memgroup._memgroup' has no attribute 'Tractor'",
    ]


# Errors


def test_a_dead_process_says_so():
    _, parent = family()
    start = parent.mmap(1).start
    child = parent.fork()
    (vma,) = child.vmas()
    child.exit()
    uses = [
        lambda: child.write(start),
        lambda: child.read(start),
        lambda: child.page(start),
        lambda: child.fork(),
        lambda: child.fork(3),
        lambda: child.exit(),
        lambda: child.vmas(),
        lambda: child.mmap(1),
        lambda: child.munmap(start, 1),
        lambda: child.mprotect(start, 1, "r"),
        lambda: child.madvise(start, 1, "dontfork"),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="process 2 has exited"):
            use()
    with pytest.raises(ValueError, match="VMA 1 is gone"):
        _ = vma.pages
    assert parent.fork().pid == 3


def test_errors_name_the_page_and_the_process():
    machine, process = family()
    process.mmap(2, at=50)
    process.mprotect(51, 1, "r")
    cases = [
        (LookupError, "page 7 is not mapped in process 1", lambda: process.write(7)),
        (LookupError, "page 7 is not mapped in process 1", lambda: process.read(7)),
        (LookupError, "page 52 is not mapped in process 1", lambda: process.mprotect(50, 3, "rw")),
        (LookupError, "page 49 is not mapped in process 1", lambda: process.madvise(49, 3, "dontfork")),
        (PermissionError, "page 51 of process 1 is mapped r--", lambda: process.write(51)),
        (ValueError, "page 50 is mapped already in process 1", lambda: process.mmap(9, at=42)),
        (LookupError, "page 12 is gone", lambda: machine.walk(12)),
        (LookupError, "page 12 is gone", lambda: machine.swap_out(12)),
        (LookupError, "is gone", lambda: machine.unmap_visits(2**70)),
        (ValueError, "must not be negative, as -1 is", lambda: process.write(-1)),
        (ValueError, "must not be negative", lambda: process.mmap(-(2**70))),
        (ValueError, "must not be negative", lambda: process.fork(-1)),
        (ValueError, "no range", lambda: process.mmap(0)),
        (ValueError, "no range", lambda: process.munmap(0, 2**40)),
        (MemoryError, "no 68719476736 pages in a row left", lambda: process.mmap(2**36)),
        (MemoryError, "Linux numbers 4194304 at most", lambda: process.fork(10**30)),
        (ValueError, "'q'|\"q\"", lambda: process.mmap(1, prot="q")),
        (ValueError, '"dontneed"', lambda: process.madvise(50, 1, "dontneed")),
        (ValueError, 'one of "scan24", ', lambda: Machine("2.6")),
        (ValueError, '"keeps" or "reverses"', lambda: Machine("avc_34", clone_order="shuffles")),
    ]
    for kind, message, use in cases:
        with pytest.raises(kind, match=message):
            use()
    assert machine.check() == []
    assert (machine.counts()["processes"], machine.pages()) == (1, [])


def test_a_swapped_out_page_cannot_be_swapped_out_again():
    machine, process = family()
    page = process.write(process.mmap(1).start)
    machine.swap_out(page)
    with pytest.raises(ValueError, match=f"page {page} is in no page table"):
        machine.swap_out(page)
    process.exit()
    with pytest.raises(LookupError, match=f"page {page} is gone"):
        machine.mapped_by(page)


@pytest.mark.parametrize("wrong", ["1", 1.5, None, b"1"])
def test_wrong_types(wrong):
    machine, process = family()
    for use in (process.write, process.read, machine.walk, machine.swap_out, process.mmap):
        with pytest.raises(TypeError):
            use(wrong)
    with pytest.raises(TypeError, match="policy must be a str"):
        Machine(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prot must be a str"):
        process.mmap(1, prot=3)  # type: ignore[arg-type]


def test_anything_with_an_index_is_an_integer():
    class One:
        def __index__(self):
            return 1

    _, process = family()
    vma = process.mmap(One(), at=One())
    assert (vma.start, vma.pages, len(process.fork(One()))) == (1, 1, 1)
