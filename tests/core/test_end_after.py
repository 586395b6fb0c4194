"""After the end of a group: uses, `reset()`, finalizers."""

from __future__ import annotations

import operator
import signal

import pytest
from conftest import assign, mappings
from memgroup import MemGroup
from support.ends import CONTENTS, QUIET, access_to, leave, plural

# 4. After the end


def ended_by(how: str, *, backing: str = "memfd"):
    """An ended group with a block, a protected block and an empty block."""
    group = MemGroup(backing=backing)
    block = group.copy(CONTENTS)
    things = [group, block, group.protect(block), group.alloc(0)]
    if how == "with":
        leave(group)
    elif how == "reset":
        group.reset()
    else:
        group.free(force=how == "force")
    return things


GROUP_USES = {
    "alloc": lambda g, b: g.alloc(1),
    "alloc nothing": lambda g, b: g.alloc(0),
    "copy": lambda g, b: g.copy(b"abc"),
    "copy nothing": lambda g, b: g.copy(b""),
    "protect": lambda g, b: g.protect(b),
    "unprotect": lambda g, b: g.unprotect(b),
    "protect a foreign view": lambda g, b: g.protect(memoryview(b"abc")),
    "protect a foreign block": lambda g, b: g.protect(MemGroup().alloc(1)),
    "in": lambda g, b: b in g,
    "in, foreign": lambda g, b: 5 in g,
    "reset": lambda g, b: g.reset(),
    "enter": lambda g, b: g.__enter__(),
}


BLOCK_USES = {
    "len": len,
    "bool": bool,
    "nbytes": lambda b: b.nbytes,
    "readonly": lambda b: b.readonly,
    "address": lambda b: b.address,
    "tobytes": lambda b: b.tobytes(),
    "bytes": bytes,
    "memoryview": memoryview,
    "index": lambda b: b[0],
    "index from the end": lambda b: b[-1],
    "index out of range": lambda b: b[100],
    "slice": lambda b: b[1:2],
    "empty slice": lambda b: b[0:0],
    "stepped slice": lambda b: b[::2],
    "assign": lambda b: assign(b, 0, 1),
    "assign out of range": lambda b: assign(b, 100, 1),
    "assign slice": lambda b: assign(b, slice(0, 2), b"ab"),
    "assign empty slice": lambda b: assign(b, slice(0, 0), b""),
    "assign stepped slice": lambda b: assign(b, slice(0, 2, 2), b"a"),
    "iterate": list,
    "iterate without len": lambda b: [byte for byte in b],  # noqa: C416
    "reversed": lambda b: list(reversed(b)),
    "find": lambda b: b.find(b"a"),
    "find an integer": lambda b: b.find(5),
    "find nowhere": lambda b: b.find(b"a", 3, 1),
    "count": lambda b: b.count(b"a"),
    "count nothing": lambda b: b.count(b""),
    "count nowhere": lambda b: b.count(b"a", 3, 1),
    "in": lambda b: b"a" in b,
    "integer in": lambda b: 5 in b,
    "in bytes": lambda b: b in b"abc",
    "into another": lambda b: MemGroup().copy(b),
    "assigned to another": lambda b: assign(MemGroup().alloc(len(CONTENTS)), slice(None), b),
    "found in another": lambda b: MemGroup().alloc(9).find(b),
    **{
        f"{compare.__name__} {kind}": lambda b, compare=compare, other=other: compare(b, other)
        for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
        for kind, other in {"bytes": b"abc", "as many bytes": CONTENTS}.items()
    },
    "== itself": lambda b: b == b,
    "== a number": lambda b: b == 5,
    "!= a number": lambda b: b != 5,
    "== from the other side": lambda b: b"abc" == b,  # noqa: SIM300
}


ENDS = ["free", "force", "with"]


@pytest.mark.parametrize("use", GROUP_USES.values(), ids=GROUP_USES)
@pytest.mark.parametrize("how", ENDS)
def test_every_use_of_an_ended_group_is_an_error(how, use):
    group, block, *_ = ended_by(how)
    with pytest.raises(ValueError, match="freed"):
        use(group, block)


@pytest.mark.parametrize("use", BLOCK_USES.values(), ids=BLOCK_USES)
@pytest.mark.parametrize("how", [*ENDS, "reset"])
def test_every_use_of_a_block_of_an_ended_group_is_an_error(how, use):
    _, *blocks = ended_by(how)
    for block in blocks:
        with pytest.raises(ValueError, match="freed"):
            use(block)


@pytest.mark.parametrize("how", ["free", "force"])
def test_stats_of_a_freed_group_are_an_error(how):
    with pytest.raises(ValueError, match="freed"):
        ended_by(how)[0].stats()


@pytest.mark.parametrize("how", [*ENDS, "reset"])
def test_reprs_never_fail(how):
    group, *blocks = ended_by(how)
    assert "memgroup" in repr(group)
    assert [repr(block) for block in blocks] == ["<MemBlock, freed>"] * 3


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("force", [False, True])
def test_freeing_again_does_nothing(first, force):
    group = ended_by(first)[0]
    assert group.free(force=force) == 0
    assert group.free(force=force) == 0
    assert group.freed


def test_freeing_a_freed_group_over_live_views_does_nothing():
    group = MemGroup()
    view = memoryview(group.alloc(1))
    group.free(force=True)
    group.free()
    view.release()


def test_an_empty_group_can_end(backing):
    for end in (MemGroup.free, MemGroup.reset, lambda group: group.__exit__(None, None, None)):
        end(MemGroup(backing=backing))


def test_user_code_may_end_the_group_during_a_call(child):
    code = """
        class Ending:
            def __init__(self, end, value):
                self.end, self.value = end, value

            def __index__(self):
                self.end()
                return self.value

        USES = [
            lambda group, block, evil: block[evil],
            lambda group, block, evil: block[evil:5],
            lambda group, block, evil: block[evil:5:2],
            lambda group, block, evil: block.__setitem__(0, evil),
            lambda group, block, evil: block.__setitem__(evil, 0),
            lambda group, block, evil: block.__setitem__(slice(evil, 3), b"ab"),
            lambda group, block, evil: block.find(b"b", evil),
            lambda group, block, evil: block.count(b"b", 0, evil),
            lambda group, block, evil: evil in block,
        ]
        for use in USES:
            for end in (MemGroup.free, MemGroup.reset, lambda group: group.__exit__(None, None, None)):
                group = MemGroup()
                block = group.copy(b"b" * 1000)
                said = outcome(use, group, block, Ending(lambda: end(group), 1))
                if not (said.startswith("ValueError") and "freed" in said):
                    print(USES.index(use), said)
    """
    assert child.output(code) == ""


# 5. reset()


@pytest.mark.parametrize("views", [1, 4])
def test_reset_is_strict(group, views):
    block = group.copy(CONTENTS)
    kept = [memoryview(block) for _ in range(views)]
    with pytest.raises(BufferError, match=plural(views)):
        group.reset()
    assert bytes(kept[0]) == block == CONTENTS
    assert group.stats().blocks == 1


def test_reset_keeps_memory_warm(name, mirrored):
    group = MemGroup(name=name, backing=mirrored)
    for _ in range(100):
        group.alloc(1000)
    before = group.stats()
    group.reset()
    after = group.stats()
    assert (after.committed, after.mapped, after.allocated) == (before.committed, before.mapped, 0)
    assert group.stats().slots[0].committed == before.slots[0].committed


@pytest.mark.parametrize("rounds", [1, 3])
def test_slots_of_exporters_are_set_aside_and_keep_their_bytes(mirrored, rounds):
    np = pytest.importorskip("numpy")
    group = MemGroup(backing=mirrored)
    arrays = []
    for i in range(rounds):
        block = group.copy(bytes([i]) * 1000)
        arrays.append(np.ndarray((1000,), "u1", buffer=block))
        group.reset()
        with pytest.raises(ValueError, match="freed"):
            bytes(block)
    for _ in range(100):
        group.copy(b"\xff" * 1000)
    assert [set(array.tolist()) for array in arrays] == [{i} for i in range(rounds)]
    group.free()


def test_slots_that_were_set_aside_are_freed_with_their_last_exporter(name):
    group = MemGroup(name=name)
    block = group.copy(CONTENTS)
    memoryview(block).release()
    group.reset()
    group.alloc(1)
    assert mappings(name) == 4
    assert group.stats().mapped == 4 * 65536
    del block
    assert mappings(name) == 2
    assert group.stats().mapped == 2 * 65536


def test_free_also_frees_slots_that_were_set_aside(name):
    group = MemGroup(name=name)
    block = group.copy(CONTENTS)
    address = block.address
    group.reset()
    held = group.stats().held
    assert group.free() == held > 0
    assert mappings(name) == 2
    assert group.free(force=True) == 0
    assert mappings(name) == 0
    assert access_to(address) == "---p"


def test_blocks_of_an_earlier_epoch_stay_invalid_when_their_bytes_are_reused(group):
    old = [group.copy(CONTENTS)]
    for _ in range(300):  # more than a byte counts
        group.reset()
        old.append(group.copy(CONTENTS))
    assert old.pop() == CONTENTS
    for block in old:
        with pytest.raises(ValueError, match="reset"):
            bytes(block)


@pytest.mark.parametrize("verb", ["protect", "unprotect"])
def test_blocks_from_before_a_reset_cannot_be_protected(group, verb):
    block = group.copy(CONTENTS)
    group.reset()
    with pytest.raises(ValueError, match="freed"):
        getattr(group, verb)(block)


# 6. Finalizers


DROPS = {
    "group first": "del group; del block; del view; del protected",
    "view first": "del view; del protected; del block; del group",
    "block first": "del block; del group; del protected; del view",
    "all at exit": "",
    "cycle": "view = [group, block, view, protected]; view.append(view)\ndel view, group, block, protected",
    "cycle at exit": "cycle = [group, block, view, protected]; cycle.append(cycle)",
    "held by a module": "sys.kept = [group, block, view]",
    "used at exit": "import atexit; atexit.register(lambda: bytes(view) + bytes(block))",
    "held by a weakref's callback": "import weakref; weakref.finalize(group, lambda: None)",
    "held by a thread": "t = threading.Thread(target=lambda b=block: bytes(b) and None); t.start()",
    "held by a busy daemon": """
large = group.alloc(1 << 20)
def work():
    while True:
        large[:] = large
threading.Thread(target=work, daemon=True).start()
""",
    "freed by force": "group.free(force=True)",
    "reset over an exporter": "del view, protected; block.address; group.reset(); group.free()",
    "freed in __del__": "Ending(view, group)",
    "freed in __del__ at exit": "kept = Ending(view, group)",
    "freed in __del__ of a cycle": "kept = Ending(view, group); kept.kept = kept; del kept; gc.collect()",
}


@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_finalizers_make_no_noise(child, drop):
    code = """
class Ending:
    def __init__(self, view, group):
        self.view, self.group = view, group

    def __del__(self):
        bytes(self.view)
        self.group.free(force=True)


group = MemGroup()
block = group.copy(b"abc")
protected = group.protect(block)
view = memoryview(block)[::2]
"""
    assert child.output(code + drop, flags=QUIET) == ""


def test_arrays_at_exit_make_no_noise(child):
    pytest.importorskip("numpy")
    code = """
        import numpy as np
        group = MemGroup()
        arrays = [np.frombuffer(group.alloc(8)), np.ndarray((1,), buffer=group.alloc(8))]
        np.kept = arrays
    """
    assert child.output(code, flags=QUIET) == ""


def test_a_signal_in_a_with_block_leaves_nothing_behind(child):
    # A shell's background jobs ignore the signal, and so do their children.
    ended = child.run("""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with MemGroup() as group:
            view = memoryview(group.copy(b"abc"))
            os.kill(os.getpid(), signal.SIGINT)
    """)
    assert ended.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in ended.stderr


def test_only_errors_of_free_mention_force():
    group = MemGroup()
    view = memoryview(group.copy(CONTENTS))
    with pytest.raises(BufferError, match="force=True"):
        group.free()
    with pytest.raises(BufferError) as refused:
        group.reset()
    assert "force" not in str(refused.value)
    view.release()


def test_a_repr_shows_memory_that_views_keep():
    with MemGroup(name="ended") as group:
        view = memoryview(group.copy(CONTENTS))
    assert repr(group) == f'<MemGroup "ended", freed but for {group.stats().held >> 10} KiB>'
    del view
    assert repr(group) == '<MemGroup "ended", freed>'


def test_an_empty_view_between_two_adjacent_groups_belongs_to_its_own():
    groups = [MemGroup(base=4096) for _ in range(8)]
    blocks = [group.alloc(4096) for group in groups]
    for block, owner in zip(blocks, groups, strict=True):
        behind_the_last = memoryview(block)[4096:]
        assert not any(behind_the_last in group for group in groups if group is not owner)
