"""Lists of records that a block holds one after the other, as an engine's store may have them."""

from __future__ import annotations

from array import array

import pytest
from memgroup import MemGroup
from memgroup._memgroup import list_of_joined


def test_the_records_lie_in_the_block():
    block = MemGroup().copy(b"abbccc")
    joined = list_of_joined(block, array("Q", [1, 2, 0, 3]))
    assert joined.tolist() == [b"a", b"bb", b"", b"ccc"]
    assert joined[0].address == block.address


@pytest.mark.parametrize(
    "sizes", [array("Q", [7]), array("Q", [6, 1]), array("Q", [1, 2**64 - 1]), b"1234567"]
)
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="damaged"):
        list_of_joined(MemGroup().copy(b"abbccc"), sizes)
