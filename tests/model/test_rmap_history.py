"""The model of reverse mapping: threads, and random histories of all designs."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memgroup.rmap import POLICIES, Machine, Process
from support.machines import family

CORRECT = [policy for policy in POLICIES if policy not in ("avc_rc1", "degree319")]


# Threads


def test_threads_share_a_machine():
    machine, first = family()
    start = first.mmap(8).start
    errors = []

    def live(seed):
        try:
            mine = first.fork()
            for step in range(300):
                mine.write(start + (step * seed) % 8)
                child = mine.fork()
                child.write(start + step % 8)
                (mine if step % 2 else child).exit()
                mine = child if step % 2 else mine
            mine.exit()
        except Exception as error:  # shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=live, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert machine.processes() == [first]
    assert machine.check() == []
    assert machine.counts()["chains"] == 0


# Histories


FIRST, PAGES = 16, 6


class History(RuleBasedStateMachine):
    """A reference model of dicts: a process sees a token for each page, shared until one process writes."""

    @initialize(policy=st.sampled_from(CORRECT))
    def begin(self, policy):
        self.machine, first = family(policy)
        first.mmap(PAGES, at=FIRST)
        self.tokens = itertools.count()
        # The token that each live process sees at each page address, and the page id of each token.
        self.seen: dict[Process, dict[int, int]] = {first: {}}
        self.ids: dict[int, int] = {}
        # The tokens that a process has only in swap.
        self.swapped: set[tuple[Process, int]] = set()
        self.mapped: dict[Process, set[int]] = {first: set(range(FIRST, FIRST + PAGES))}

    def pick(self, data):
        return data.draw(st.sampled_from(list(self.seen)))

    def pick_page(self, data, process):
        return data.draw(st.sampled_from(sorted(self.mapped[process])))

    @precondition(lambda self: any(self.mapped.values()))
    @rule(data=st.data())
    def write(self, data):
        process = data.draw(st.sampled_from([one for one, pages in self.mapped.items() if pages]))
        page = self.pick_page(data, process)
        old = self.seen[process].get(page)
        sharers = [one for one, pages in self.seen.items() if old is not None and pages.get(page) == old]
        token = old if old is not None and sharers == [process] else next(self.tokens)
        id_ = process.write(page)
        assert self.ids.setdefault(token, id_) == id_
        self.seen[process][page] = token
        self.away(process, page, old)
        self.swapped.discard((process, page))

    def away(self, process, page, token):
        """Forget the tokens that no process has."""
        if token is not None and all(pages.get(page) != token for pages in self.seen.values()):
            del self.ids[token]

    @precondition(lambda self: any(self.mapped.values()))
    @rule(data=st.data())
    def read(self, data):
        process = data.draw(st.sampled_from([one for one, pages in self.mapped.items() if pages]))
        page = self.pick_page(data, process)
        token = self.seen[process].get(page)
        assert process.read(page) == (None if token is None else self.ids[token])
        self.swapped.discard((process, page))

    @precondition(lambda self: len(self.seen) < 10)
    @rule(data=st.data(), n=st.none() | st.integers(0, 3))
    def fork(self, data, n):
        process = self.pick(data)
        children = [process.fork()] if n is None else process.fork(n)
        assert len(children) == (1 if n is None else n)
        for child in children:
            self.seen[child] = dict(self.seen[process])
            self.mapped[child] = set(self.mapped[process])
            self.swapped.update({(child, page) for one, page in self.swapped if one == process})

    @precondition(lambda self: len(self.seen) > 1)
    @rule(data=st.data())
    def exit(self, data):
        process = self.pick(data)
        process.exit()
        self.forget(process, list(self.seen[process]))
        del self.seen[process], self.mapped[process]

    def forget(self, process, pages):
        for page in pages:
            token = self.seen[process].pop(page, None)
            self.away(process, page, token)
            self.swapped.discard((process, page))

    @rule(data=st.data(), page=st.integers(FIRST, FIRST + PAGES - 1), pages=st.integers(1, 4))
    def munmap(self, data, page, pages):
        process = self.pick(data)
        process.munmap(page, pages)
        self.forget(process, range(page, page + pages))
        self.mapped[process] -= set(range(page, page + pages))

    @rule(data=st.data(), page=st.integers(FIRST, FIRST + PAGES - 1), pages=st.integers(1, 4))
    def mmap(self, data, page, pages):
        process = self.pick(data)
        wanted = set(range(page, page + pages))
        if wanted & self.mapped[process]:
            taken = min(wanted & self.mapped[process])
            with pytest.raises(ValueError, match=f"page {taken} is mapped already"):
                process.mmap(pages, at=page)
            return
        vma = process.mmap(pages, at=page)
        assert wanted <= set(range(vma.start, vma.stop)) <= self.mapped[process] | wanted
        self.mapped[process] |= wanted

    @rule(data=st.data(), page=st.integers(FIRST, FIRST + PAGES - 1), pages=st.integers(1, 4))
    def protect_and_unprotect(self, data, page, pages):
        process = self.pick(data)
        if not set(range(page, page + pages)) <= self.mapped[process]:
            with pytest.raises(LookupError, match="is not mapped"):
                process.mprotect(page, pages, "r")
            return
        process.mprotect(page, pages, "r")
        with pytest.raises(PermissionError, match=f"page {page} of process {process.pid} is mapped r--"):
            process.write(page)
        if data.draw(st.booleans()):
            process.fork().exit()
        process.mprotect(page, pages, "rw")

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def swap_out(self, data):
        token = data.draw(st.sampled_from(sorted(self.ids)))
        holders = self.holders(token)
        if not holders:
            with pytest.raises(ValueError, match="is in no page table"):
                self.machine.swap_out(self.ids[token])
            return
        assert self.machine.unmap_visits(self.ids[token]) >= len(holders)
        assert self.machine.swap_out(self.ids[token])
        self.swapped.update(holders)

    def holders(self, token):
        """The processes that have the page in memory."""
        having = [(one, page) for one, pages in self.seen.items() for page in pages if pages[page] == token]
        return [place for place in having if place not in self.swapped]

    @invariant()
    def who_maps_a_page(self):
        if not hasattr(self, "machine"):
            return
        assert self.machine.check() == []
        assert self.machine.processes() == sorted(self.seen, key=lambda process: process.pid)
        assert sorted(self.machine.pages()) == sorted(self.ids.values())
        for token, id_ in self.ids.items():
            holders = {process for process, _ in self.holders(token)}
            assert set(self.machine.mapped_by(id_)) == holders
            assert holders <= {process for process, _ in self.machine.walk(id_)}


TestHistory = History.TestCase


TestHistory.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("deed", ["spawn", "write", "share", "read", "mmap", "protect", "fork", "forks"])
def test_after_running_out_of_memory_the_model_is_unchanged_and_usable(child, deed):
    code = """
        from collections import deque
        from memgroup.rmap import Machine

        def address_space():
            return int(open("/proc/self/statm").read().split()[0]) * 4096

        def limit(nbytes):
            resource.setrlimit(resource.RLIMIT_AS, (nbytes, resource.RLIM_INFINITY))

        machine = Machine()
        first = machine.spawn()
        start = first.mmap(1 << 30).start
        beside = first.mmap(1 << 30, shared=True).start
        for page in range(64):
            first.write(start + page)
        deeds = {
            "spawn": lambda: deque((machine.spawn() for _ in range(1 << 22)), 0),
            "write": lambda: deque((first.write(start + page) for page in range(64, 1 << 30)), 0),
            "share": lambda: deque((first.write(beside + page) for page in range(1 << 30)), 0),
            "read": lambda: deque((first.read(start + page) for page in range(64, 1 << 30, 16)), 0),
            "mmap": lambda: deque((first.mmap(1) for _ in range(1 << 30)), 0),
            "protect": lambda: deque((first.mprotect(start + i, 1, "r") for i in range(0, 1 << 30, 2)), 0),
            "fork": lambda: deque((first.fork() for _ in range(1 << 22)), 0),
            "forks": lambda: first.fork(1 << 20),
        }
        limit(address_space() + (4 << 20))
        said = outcome(deeds[sys.argv[1]])
        before = machine.counts()
        looks = [outcome(look) for look in (machine.check, machine.graph, machine.processes, machine.pages)]
        limit(resource.RLIM_INFINITY)
        assert said.startswith("MemoryError: there is no memory left for the model to grow"), said
        assert all(look == "fine" or look.startswith("MemoryError") for look in looks), looks
        if sys.argv[1] == "forks":
            assert before["processes"] == 1
        assert machine.counts() == before
        assert machine.check() == []
        first.fork(3)[1].write(start + 1)
        for process in machine.processes():
            process.exit()
        assert not any(machine.counts()[what] for what in ("vmas", "anon_vmas", "chains", "pages"))
    """
    child.output(code, deed)


@pytest.mark.parametrize("policy", POLICIES)
def test_after_swapping_out_a_walk_visits_only_shared_mappings(policy):
    machine = Machine(policy)
    parent = machine.spawn()
    private = parent.write(parent.mmap(1, at=16).start)
    shared = parent.write(parent.mmap(1, at=32, shared=True).start)
    child = parent.fork()
    child.read(32)
    assert machine.swap_out(private)
    assert machine.swap_out(shared)
    assert machine.walk(private) == []
    found = [process for process, _ in machine.walk(shared)]
    assert found == ([] if policy == "scan24" else [parent, child])
    parent.read(16)
    assert parent in [process for process, _ in machine.walk(private)]
