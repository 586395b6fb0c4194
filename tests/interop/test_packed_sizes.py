"""Lists that are sent with sizes of two bytes each answer as the list that was sent."""

from __future__ import annotations

import os
import pickle
from array import array
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from memgroup import MemGroup, MemList, loads_into
from memgroup import _pickle as ours
from memgroup._memgroup import pieces
from support.pickles import list_of

CHANCE = Random(7)
RECORDS = {
    "few": [b"a" * size for size in (0, 1, 15, 16, 17, 0, 300, 65_535, 2)],
    "many": [CHANCE.choice([b"ab ", b"abc", b"x"]) * CHANCE.randrange(30) for _ in range(3000)],
    "unpadded": [b"x" * (16 * CHANCE.randrange(1, 9)) for _ in range(200)],
}


def sent(name: str, align: int = 16) -> MemList:
    """A list in several slots: the first ones are small."""
    return list_of(MemGroup(base=4096), RECORDS[name], align)


def in_band(made: MemList) -> MemList:
    return pickle.loads(pickle.dumps(made))


def out_of_band(made: MemList) -> MemList:
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(made, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(head, buffers=[bytearray(buffer) for buffer in buffers])


def pieces_of(made: MemList) -> Any:
    return pieces(made)


def written(made: MemList) -> bytes:
    with open(os.memfd_create("written"), "w+b") as file:
        made.writev(file)
        file.seek(0)
        return file.read()


QUESTIONS: dict[str, Callable[[MemList], Any]] = {
    "tolist": MemList.tolist,
    "sizes": lambda made: list(made.sizes),
    "nbytes": lambda made: made.nbytes,
    "items": lambda made: [bytes(made[at]) for at in (0, 1, 5, -1, len(made) // 2)],
    "blocks": lambda made: list(map(bytes, made)),
    "backwards": lambda made: made[::-1].tolist(),
    "slice": lambda made: made[3:-2].tolist(),
    "steps": lambda made: made[1::3].tolist(),
    "contains": lambda made: list(made.contains(b"bc")),
    "find": lambda made: list(made.find(b"ca")),
    "count": lambda made: list(made.count_in(b"a")),
    "startswith": lambda made: list(made.startswith(b"ab")),
    "take": lambda made: made.take(made.contains(b"a")).tolist(),
    "join": lambda made: bytes(made.join()),
    "writev": written,
    "sent again": lambda made: out_of_band(made[2:]).tolist(),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("way", [in_band, out_of_band])
@pytest.mark.parametrize(("name", "align"), [*((name, 16) for name in RECORDS), ("few", 1), ("few", 4096)])
def test_it_answers_as_what_was_sent(name, align, way, question):
    made = sent(name, align)
    assert [len(column) for column in pieces_of(made)[2]] == [2 * len(made)]
    loaded = way(made)
    assert loaded == made
    assert QUESTIONS[question](loaded) == QUESTIONS[question](made)


@pytest.mark.parametrize("part", [slice(0, 0), slice(4, 5), slice(7, 90), slice(33, None)])
def test_parts_are_packed(part):
    made = sent("many")[part]
    loaded = out_of_band(made)
    assert loaded.tolist() == made.tolist()
    assert all(block.address % 16 == 0 for block in loaded)


def test_large_records_have_two_columns():
    records = [b"x", b"y" * 65_536]
    made = list_of(MemGroup(), records)
    assert len(pieces_of(made)[2]) == 2
    assert in_band(made).tolist() == records


def test_pickles_with_two_columns_are_loaded():
    made = sent("many")
    stretches, firsts, (sizes,), align = pieces_of(made)
    assert len(stretches) > 1
    starts, end = [], 0
    for size in made.sizes:
        starts.append(end)
        end += -(-max(size, 1) // 16) * 16
    sizes_and_starts = array("Q", made.sizes), array("Q", starts)
    assert ours.load_list(stretches, firsts, sizes_and_starts, align, False) == made
    assert ours.load_list(stretches, firsts, (sizes,), align, False) == made


@pytest.mark.parametrize(
    "change",
    [
        lambda sizes: sizes[:-1],
        lambda sizes: b"",
        lambda sizes: b"\xff" * len(sizes),
        lambda sizes: bytes(2 * 10**6) + sizes,
    ],
)
def test_a_damaged_column_is_a_value_error(change):
    stretches, firsts, (sizes,), align = pieces_of(sent("many"))
    buffers = tuple(map(bytes, stretches))
    with MemGroup() as group, loads_into(group), pytest.raises(ValueError, match="damaged"):
        ours.load_list(buffers, firsts, (change(sizes),), align, False)
    with pytest.raises(ValueError, match="damaged"):
        ours.load_list(buffers, firsts, (sizes,), 8192, False)
