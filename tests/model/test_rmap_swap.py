"""Pages that come back from swap: whose they are, and that a recording of the kernel tells them apart."""

from __future__ import annotations

import pytest
from memgroup.rmap import POLICIES, Machine
from support.kernel_history import STORIES
from support.kernel_walks import Records, Walk

PAGE = 16


def of_a_child(kernel: str):
    """A page that a child has written, and the child."""
    machine = Machine(kernel=kernel)
    parent = machine.spawn()
    parent.mmap(1, at=PAGE)
    parent.write(PAGE)
    child = parent.fork()
    return machine, child, child.write(PAGE)


# Found by the walks of 7.2.13; 1493a1913e34 is in 5.19.
@pytest.mark.parametrize(
    ("kernel", "visits"),
    [("5.10.223", 2), ("5.18.19", 2), ("5.19", 1), ("6.1.176", 1), ("6.12.117", 1), ("7.2.13", 1)],
)
def test_a_page_of_one_process_stays_its_own_in_swap_from_5_19_on(kernel, visits):
    machine, child, page = of_a_child(kernel)
    machine.swap_out(page)
    assert child.read(PAGE) == page
    assert machine.unmap_visits(page) == visits
    assert machine.check() == []


@pytest.mark.parametrize("kernel", ["5.10.223", "5.19", "7.2.13"])
def test_a_page_that_is_written_as_it_comes_back_is_the_writers_own(kernel):
    machine, child, page = of_a_child(kernel)
    machine.swap_out(page)
    assert child.write(PAGE) == page
    assert machine.unmap_visits(page) == 1


@pytest.mark.parametrize("is_swapped", [False, True])
def test_a_fork_ends_it_even_when_the_new_process_exits(is_swapped):
    machine, child, page = of_a_child("7.2.13")
    if is_swapped:
        machine.swap_out(page)
    child.fork().exit()
    if not is_swapped:
        machine.swap_out(page)
    assert child.read(PAGE) == page
    assert machine.unmap_visits(page) == 2
    assert machine.check() == []


def test_a_walk_belongs_to_the_page_that_was_there_even_where_others_look_at_the_same_place():
    # Process 1 has a page of its own at address 7; processes 2 and 3 share another one there.
    frames = {(1, 7): 100, (2, 7): 105, (3, 7): 105}
    walks = [Walk(1105, [(1, 7), (2, 7), (3, 7)]), Walk(1100, [(1, 7)])]
    records = Records()
    assert records.frames_of(walks, frames) == {1105: 105, 1100: 100}
    assert records.frames_of(walks[:1], frames) == {1105: 105}


def test_without_a_walk_no_frame_is_known():
    assert Records().frames_of([], {(1, 7): 100}) == {}


def told(machine: Machine, story: str) -> list[list[int]]:
    """What a kernel shows of a story: chains of children, and the processes that walks look at.

    A kernel does not number its anon_vmas, so they have the order in which they show up.
    """
    members = {1: machine.spawn()}
    names: dict[int, int] = {}
    members[1].mmap(1, at=PAGE)
    seen = []
    for what, *number in map(str.split, story.split(", ")):
        process = members[int(*number)] if number else members[1]
        match what:
            case "fork":
                child = process.fork()
                members[child.pid] = child
                seen.append([names.setdefault(id_, len(names)) for vma in child.vmas() for id_ in vma.chain])
            case "swap":
                for page in [row["id"] for row in machine.graph()["pages"] if row["mapped_by"]]:
                    places = [one.pid for one, _ in machine.walk(page)]
                    seen.append(places[: machine.unmap_visits(page)])
                    machine.swap_out(page)
            case "exit":
                process.exit()
            case _:
                getattr(process, what)(PAGE)
    return seen


@pytest.mark.parametrize("kernel", ["5.10.46", "5.10.223", "6.1.176", "6.12.117", "7.2.13"])
def test_the_stories_catch_every_wrong_policy(kernel):
    right = Machine(kernel=kernel)
    for policy in set(POLICIES) - {right.policy}:
        assert any(
            told(Machine(policy), story) != told(Machine(kernel=kernel), story) for story in STORIES
        ), policy
