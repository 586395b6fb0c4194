"""The effect of the end of a group on every way to hold a block through numpy and similar libraries.

An object that holds an export is a view: `free()` refuses. An object that took the address and keeps only the
block is no view, so `free()` sets the slot aside until the block dies. `free(force=True)` takes the memory
away, and a later use is a reported crash: it never shows another group's bytes.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from support.crashes import FREED, Nursery, crash, report

pytest.importorskip("numpy")

SIZE = 4000

# How the bytes are held, as an expression of `block`; what the end of the group finds: a live view (a lender
# asks the block again for each of its own), an exporter without one, or a copy.
WAYS = {
    "asarray": ("np.asarray(block)", "view"),
    "asarray of a view": ("np.asarray(memoryview(block))", "view"),
    "asanyarray": ("np.asanyarray(block)", "view"),
    "array without copying": ("np.array(block, copy=None)", "view"),
    "frombuffer": ("np.frombuffer(block, 'u1')", "view"),
    "frombuffer of a type": ("np.frombuffer(block, '<f8').view('u1')", "view"),
    "frombuffer of a part": ("np.frombuffer(block, 'u1', count=SIZE - 8, offset=8)", "view"),
    "frombuffer of a slice": ("np.frombuffer(block[16:], 'u1')", "view"),
    "frombuffer of a view": ("np.frombuffer(memoryview(block), 'u1')", "view"),
    "a view": ("np.frombuffer(block, 'u1')[10:]", "view"),
    "a view of a view": ("np.frombuffer(block, 'u1')[10:][::2][1:]", "view"),
    "reshaped": ("np.frombuffer(block, 'u1').reshape(40, -1).T", "view"),
    "another type": ("np.frombuffer(block, 'u1').view('u4')", "view"),
    "a record's field": ("np.frombuffer(block, [('a', 'u4'), ('b', 'u4')])['b']", "view"),
    "strided": ("np.lib.stride_tricks.sliding_window_view(np.frombuffer(block, 'u1'), 16)", "view"),
    "broadcast": ("np.broadcast_to(np.frombuffer(block, 'u1')[:8], (4, 8))", "view"),
    "diagonal": ("np.diagonal(np.frombuffer(block, 'u1')[:3600].reshape(60, 60))", "view"),
    "split": ("np.split(np.frombuffer(block, 'u1'), 4)[3]", "view"),
    "a subclass": ("np.frombuffer(block, 'u1').view(np.recarray)", "view"),
    "a masked array": ("np.ma.frombuffer(block, 'u1')", "view"),
    "a memoryview of an array": ("memoryview(np.frombuffer(block, 'u1'))", "view"),
    "an iterator over an array": ("np.frombuffer(block, 'u1').flat", "view"),
    "memoryview": ("memoryview(block)", "view"),
    "a slice of a memoryview": ("memoryview(block)[5:][::3]", "view"),
    "a cast": ("memoryview(block).cast('I')", "view"),
    "a cast to two dimensions": ("memoryview(block).cast('B', (40, 100))", "view"),
    "read-only": ("memoryview(block).toreadonly()", "view"),
    "PickleBuffer": ("__import__('pickle').PickleBuffer(block)", "lender"),
    "ctypes from_buffer": ("(ctypes.c_ubyte * SIZE).from_buffer(block)", "view"),
    "as_array of ctypes": ("np.ctypeslib.as_array((ctypes.c_ubyte * SIZE).from_buffer(block))", "view"),
    "ndarray": ("np.ndarray((SIZE,), 'u1', buffer=block)", "exporter"),
    "ndarray of a type": ("np.ndarray((SIZE // 8,), '<u8', buffer=block)", "exporter"),
    "ndarray, strided": ("np.ndarray((10, 10), 'u1', buffer=block, offset=4, strides=(20, 2))", "exporter"),
    "ndarray of a slice": ("np.ndarray((SIZE - 64,), 'u1', buffer=block[64:])", "exporter"),
    "a view of ndarray": ("np.ndarray((SIZE,), 'u1', buffer=block)[7:][::5]", "exporter"),
    "ndarray of a memoryview": (
        "np.ndarray((SIZE,), 'u1', buffer=memoryview(block))",
        "exporter",
    ),  # keeps only the view's object
    "a released view": ("(memoryview(block).release(), block)[1]", "block"),
    "its address": ("(block.address, block)[1]", "block"),
    "array": ("np.array(block)", "copy"),
    "frombuffer, copied": ("np.frombuffer(block, 'u1').copy()", "copy"),
    "fancy indexing": ("np.frombuffer(block, 'u1')[[1, 2, 3]]", "copy"),
    "from_buffer_copy": ("(ctypes.c_ubyte * SIZE).from_buffer_copy(block)", "copy"),
    "bytes": ("bytes(block)", "copy"),
}
WRITABLE_ONLY = {"ctypes from_buffer", "as_array of ctypes"}

HOLD = """
    import numpy as np

    SIZE = 4000
    memgroup.enable_fault_report()


    def hold(way, mirror, backing="memfd"):
        group = MemGroup(name="crash", backing=backing)
        block = group.copy(bytes(range(250)) * 16)
        if mirror == "read-only":
            block = group.protect(block)
        return group, eval(way, globals(), {"block": block})


    def raw(held):
        if isinstance(held, np.flatiter):
            held = held.base
        if isinstance(held, ctypes.Array):
            return bytes(held)
        return memoryview(held).tobytes()


    def occupy(many):
        # Other groups, and what they leave warm, wherever there is room.
        kept = []
        for i in range(many):
            other = MemGroup(name="other", base=(1 + i % 4) * 65536)
            other.copy(b"\\xee" * 60000)
            if i % 2:
                other.free()
            kept.append(other)
        assert memgroup.warm_memory().slots > 0
        return kept
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery(HOLD)
    yield made
    made.close()


def ways(*, writable: bool) -> list[str]:
    return [way for way in WAYS if writable or way not in WRITABLE_ONLY]


CASES = [
    (way, mirror) for mirror in ("read-write", "read-only") for way in ways(writable=mirror == "read-write")
]


@pytest.mark.parametrize(("way", "mirror"), CASES, ids=[f"{way}, {mirror}" for way, mirror in CASES])
def test_each_end_finds_every_holder_of_the_block(nursery, way, mirror):
    expression, kind = WAYS[way]
    ended = nursery.child(
        """
        def end(how, *arguments):
            group, held = hold(WAY, MIRROR)
            expected = raw(held)
            try:
                getattr(group, how)(*arguments)
            except BufferError as error:
                assert "1 live view:" in str(error)
                return "refused", raw(held) == expected, group.freed
            try:
                return "done", raw(held) == expected, group.freed
            except ValueError as error:
                assert "freed" in str(error)
                return "done", "freed", group.freed


        print([end("free"), end("reset"), end("__exit__", None, None, None)])
        """,
        WAY=expression,
        MIRROR=mirror,
    )
    assert (ended.status, ended.err) == (0, "")
    free, reset, gentle = eval(ended.out)
    expected = {
        # Live views (and lenders, which hold one) make free() refuse; a gentle end keeps their memory.
        "view": (("refused", True, False), ("refused", True, False), ("done", True, True)),
        # An exporter does not: free() and a reset keep its slot.
        "exporter": (("done", True, True), ("done", True, False), ("done", True, True)),
        "block": (("done", "freed", True), ("done", "freed", False), ("done", True, True)),
        "copy": (("done", True, True), ("done", True, False), ("done", True, True)),
    }["view" if kind == "lender" else kind]
    assert (free, reset, gentle) == expected


CRASHES = [(way, mirror) for way, mirror in CASES if WAYS[way][1] in ("view", "exporter")]


@pytest.mark.parametrize(("way", "mirror"), CRASHES, ids=[f"{way}, {mirror}" for way, mirror in CRASHES])
def test_using_memory_freed_under_a_holder_is_a_reported_crash(nursery, way, mirror):
    expression, _ = WAYS[way]
    ended = nursery.child(
        """
        group, held = hold(WAY, MIRROR)
        group.free(force=True)
        others = occupy(20)
        print("before", flush=True)
        print(raw(held))
        """,
        WAY=expression,
        MIRROR=mirror,
    )
    assert (ended.status, ended.out) == (-signal.SIGSEGV, "before\n")
    head, *_ = ended.err.splitlines()
    assert head.startswith("memgroup: read at 0x")
    assert head.endswith(f', in the {mirror} mirror of slot 0 of the freed group "crash"')
    assert FREED[0] in ended.err
    assert "  object  byte " in ended.err


def test_an_exporter_of_a_freed_block_is_refused(nursery):
    ended = nursery.child(
        """
        group, held = hold("__import__('pickle').PickleBuffer(block)", "read-write")
        group.free(force=True)
        raw(held)
        """
    )
    assert ended.status == 1
    assert 'ValueError: the group "crash" is freed' in ended.err


@pytest.mark.parametrize("backing", ["memfd", "directory"])
@pytest.mark.parametrize("mirror", ["read-write", "read-only"])
@pytest.mark.parametrize("access", ["read", "write"])
def test_never_another_groups_bytes_while_a_thousand_are_made_and_filled(
    nursery, tmp_path, backing, mirror, access
):
    ended = nursery.child(
        """
        group, held = hold("np.ndarray((SIZE,), 'u1', buffer=block)", MIRROR, BACKING)
        address = held.ctypes.data
        group.free(force=True)
        others = occupy(1000)
        taken = [other.alloc(1).address // PAGE for other in others if not other.freed]
        assert len(taken) == 500 and address // PAGE not in taken
        assert access_to(address) == access_to(address + 65535) == access_to(address - 1) == "---p"
        print(address, flush=True)
        if ACCESS == "read":
            print(held[123])
        else:
            store(address + 123)
        """,
        MIRROR=mirror,
        ACCESS=access,
        BACKING=str(tmp_path) if backing == "directory" else backing,
    )
    found = f"byte 123 of a block of {SIZE} bytes at offset 0"
    address, where = int(ended.out) + 123, f"in the {mirror} mirror"
    place = {"offset": 123, "obj": found, "group": 'freed group "crash"'}
    crash(ended, report(access, address, where, FREED, ended.pid, **place))


def test_the_addresses_are_free_again_when_the_holder_is_gone(nursery):
    nursery.run(
        """
        group, held = hold("np.ndarray((SIZE,), 'u1', buffer=block)", "read-only")
        address = held.ctypes.data
        group.free(force=True)
        assert access_to(address) == "---p"
        del held
        assert access_to(address) != "---p"
        """
    )
