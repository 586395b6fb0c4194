"""The end of a group: gentle, strict, forced, or by reset; and never a byte of somebody else's."""

from __future__ import annotations

import gc
import operator
import signal

import pytest
from conftest import assign, mappings
from memgroup import MemGroup

CONTENTS = b"hello world, here I am"


@pytest.fixture
def name(request, cold):
    """A name for a group that no other test uses, so that the mappings of its memory can be counted."""
    return f"end-{abs(hash(request.node.nodeid)):x}"


def plural(n: int) -> str:
    return f"{n} live view{'' if n == 1 else 's'}"


def leave(group: MemGroup, error: BaseException | None = None) -> None:
    """Enter the group and leave it, with an exception if there is one."""
    with group:
        if error:
            raise error


# 1. The gentle end: `with`


def test_a_with_block_gives_all_memory_back(name):
    with MemGroup(name=name) as group:
        blocks = [group.copy(CONTENTS), group.alloc(1 << 20)]
        assert mappings(name) == 4
    assert mappings(name) == 0
    assert group.freed
    assert len(blocks) == 2


def test_nothing_can_be_allocated_after_a_with_block():
    with MemGroup() as group:
        block = group.copy(CONTENTS)
        view = memoryview(block)[:0]
        view.release()
    for work in (lambda: group.alloc(1), lambda: group.copy(b"x"), lambda: group.alloc(0), group.__enter__):
        with pytest.raises(ValueError, match="freed"):
            work()


def test_slots_without_exporters_go_at_once_and_others_with_their_last(name):
    group = MemGroup(name=name, base=65536)
    kept, other, late = group.copy(CONTENTS), group.alloc(100_000), group.alloc(200_000)
    view = memoryview(kept)
    assert late.address  # gives its address out: an exporter, without a view
    assert mappings(name) == 6
    with pytest.warns(ResourceWarning, match="1 live view:"):
        leave(group)
    assert mappings(name) == 4
    assert bytes(view) == bytes(kept) == CONTENTS
    with pytest.raises(ValueError, match="freed"):
        bytes(other)
    del late
    assert mappings(name) == 2
    del view
    assert mappings(name) == 2  # the block lives, and it ever exported
    del kept
    assert mappings(name) == 0


@pytest.mark.parametrize("views", [1, 2, 7])
def test_a_resource_warning_says_how_many_views_are_left(views):
    group = MemGroup(name="counted")
    block = group.copy(CONTENTS)
    kept = [memoryview(block) for _ in range(views)]
    with pytest.warns(ResourceWarning, match=f'"counted" ended with {plural(views)}:') as caught:
        leave(group)
    assert len(caught) == 1
    assert len(kept) == views


def test_exporters_without_views_are_nothing_to_warn_of():
    with MemGroup() as group:
        block = group.copy(CONTENTS)
        memoryview(block).release()
    assert block == CONTENTS  # an exporter: what it holds outlasts the block of code


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_exporters_are_untouched_until_they_die(name):
    with MemGroup(name=name) as group:
        block = group.copy(CONTENTS)
        views = [memoryview(block), memoryview(group.protect(block)), memoryview(block)[3:9]]
    others = [MemGroup() for _ in range(50)]
    for other in others:
        other.copy(b"\xff" * 60000)
    assert [bytes(view) for view in views] == [CONTENTS, CONTENTS, CONTENTS[3:9]]
    views[0][0] = ord("H")
    assert bytes(views[1]) == b"H" + CONTENTS[1:]
    views.clear()
    assert block[0] == ord("H")
    del block
    assert mappings(name) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_over_results_after_the_block_works():
    np = pytest.importorskip("numpy")
    with MemGroup() as group:
        results = [np.frombuffer(group.copy(np.full(100, i, "i4")), "i4") for i in range(1000)]
    assert [int(result.sum()) for result in results] == [100 * i for i in range(1000)]


def test_an_array_that_dropped_its_view_lives_on_after_the_block(name):
    np = pytest.importorskip("numpy")
    with MemGroup(name=name) as group:
        made = np.ndarray((len(CONTENTS),), "u1", buffer=group.copy(CONTENTS))
        assert group.stats().exports == 0
    assert made.tobytes() == CONTENTS
    made[0] = 1
    assert made[0] == 1
    del made
    assert mappings(name) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("key", [slice(0, 5), slice(3, None), slice(None, None, 2), slice(0, 0)], ids=str)
def test_parts_of_an_exporter_can_be_taken_after_the_block(key):
    with MemGroup() as group:
        block = group.copy(CONTENTS)
        view = memoryview(block)
    part = block[key]
    del block
    view.release()
    assert bytes(part) == CONTENTS[key]
    assert bytes(part[:2]) == CONTENTS[key][:2]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_exporter_can_be_written_after_the_block():
    with MemGroup() as group:
        block = group.copy(bytes(range(200)))
        protected = group.protect(block)
        views = memoryview(block), memoryview(protected)
    block[0] = 7
    block[1:3] = b"ab"
    block[10:150] = protected[0:140]  # the same bytes through the other mirror, overlapping
    expected = bytearray(range(200))
    expected[:3] = b"\x07ab"
    expected[10:150] = bytes(expected[0:140])
    assert [bytes(view) for view in views] == [expected, expected]


def test_a_warning_that_is_an_error_still_ends_the_group(name):
    group = MemGroup(name=name)
    view = memoryview(group.copy(CONTENTS))
    with pytest.raises(ResourceWarning, match="1 live view:"):
        leave(group)
    assert group.freed
    assert bytes(view) == CONTENTS
    del view
    assert mappings(name) == 0


@pytest.mark.parametrize("error", ["KeyError", "KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_the_bodys_own_exception_stands_even_where_warnings_are_errors(child, error):
    code = f"""
        group = MemGroup()
        try:
            with group:
                view = memoryview(group.copy(b"abc"))
                raise {error}("body")
        except BaseException as caught:
            print(type(caught).__name__, caught.args, caught.__context__, group.freed, bytes(view))
    """
    ended = child.run(code, flags=("-W", "error"))
    assert (ended.returncode, ended.stdout) == (0, f"{error} ('body',) None True b'abc'\n")


def test_the_exception_of_the_body_ends_the_group(name):
    group = MemGroup(name=name)
    group.copy(CONTENTS)
    with pytest.raises(KeyError, match="body"):
        leave(group, KeyError("body"))
    assert group.freed
    assert mappings(name) == 0


def test_nested_with_blocks_end_with_the_inner_one():
    with MemGroup() as group:
        with group:
            block = group.alloc(1)
        with pytest.raises(ValueError, match="freed"):
            bytes(block)


@pytest.mark.parametrize("force", [False, True])
def test_free_inside_a_with_block_is_its_end(force):
    with MemGroup() as group:
        group.alloc(1)
        group.free(force=force)
    assert group.freed


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_free_after_a_gentle_end_is_as_strict_and_as_final(name):
    with MemGroup(name=name) as group:
        block = group.copy(CONTENTS)
        view = memoryview(block)
    with pytest.raises(BufferError, match="1 live view"):
        group.free()
    assert bytes(view) == CONTENTS
    view.release()
    group.free()
    assert mappings(name) == 0
    with pytest.raises(ValueError, match="freed"):
        bytes(block)


# 1. The gentle end: the last reference


def test_the_last_reference_ends_a_group_without_a_word(name):
    group = MemGroup(name=name)
    block = group.copy(CONTENTS)
    view = memoryview(block)
    del group
    del block
    assert bytes(view) == CONTENTS
    del view
    assert mappings(name) == 0


def test_a_cycle_does_not_keep_a_group(name):
    cycle = [MemGroup(name=name)]
    cycle += [cycle[0].copy(CONTENTS), memoryview(cycle[0].copy(CONTENTS)), cycle]
    del cycle
    gc.collect()
    assert mappings(name) == 0


# 2. free()


@pytest.mark.parametrize("views", [1, 3])
def test_free_is_strict_and_frees_nothing_over_live_views(group, views):
    block = group.copy(CONTENTS)
    kept = [memoryview(block) for _ in range(views)]
    with pytest.raises(BufferError, match=rf"{plural(views)}:.*force=True"):
        group.free()
    assert not group.freed
    assert bytes(kept[0]) == block == CONTENTS
    assert group.copy(b"still works") == b"still works"
    for view in kept:
        view.release()
    group.free()
    assert group.freed


def test_free_gives_all_memory_back_at_once(name):
    group = MemGroup(name=name)
    blocks = [group.alloc(n) for n in (10, 100_000, 1_000_000)]
    group.free()
    assert mappings(name) == 0
    assert len(blocks) == 3


HOLDERS = {
    "address": lambda block: block.address and block,
    "released view": lambda block: memoryview(block).release() or block,
}


@pytest.mark.thread_unsafe(reason="what one thread gives back another may reserve")
@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_the_addresses_of_an_exporter_stay_reserved_until_it_dies(mirrored, hold):
    group = MemGroup(backing=mirrored)
    block = group.copy(CONTENTS)
    holders = [hold(block), hold(group.protect(block))]
    addresses = [holder.address for holder in holders]
    del block
    group.free()
    assert [access_to(address) for address in addresses] == ["---p", "---p"]
    others = [MemGroup(base=65536) for _ in range(200)]
    taken = [other.alloc(100).address for other in others]
    assert not {address // 4096 for address in taken} & {address // 4096 for address in addresses}
    del holders
    assert [access_to(address) for address in addresses].count("---p") == 0


def access_to(address: int) -> str | None:
    """The access that a mapping allows, as in /proc/self/maps."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(bound, 16) for bound in line.split()[0].split("-"))
            if start <= address < end:
                return line.split()[1]
    return None


STALE = """
    import numpy as np
    group = MemGroup(backing=sys.argv[1])
    block = group.copy(b"A" * 1000)
    shown = group.protect(block) if sys.argv[2] == "protected" else block
    array = np.ndarray((1000,), "u1", buffer=shown)
    del block, shown
    group.free()
    others = [MemGroup() for _ in range(200)]
    kept = [other.copy(b"B" * 60000) for other in others]
    print("before", flush=True)
    print("other data:", bytes(array[:10]))
"""


@pytest.mark.parametrize("how", ["writable", "protected"])
def test_a_stale_access_is_a_segfault_and_never_other_data(child, mirrored, how):
    pytest.importorskip("numpy")
    child.segfaults(STALE, mirrored, how)


def test_a_stale_access_to_an_anonymous_group_is_a_segfault(child):
    pytest.importorskip("numpy")
    child.segfaults(STALE, "anonymous", "writable")


# 3. free(force=True)


def test_forced_free_gives_memory_back_over_live_views(name, child):
    group = MemGroup(name=name)
    view = memoryview(group.copy(CONTENTS))
    group.free(force=True)
    assert mappings(name) == 0
    view.release()
    child.segfaults("""
        group = MemGroup()
        view = memoryview(group.copy(b"A" * 1000))
        group.free(force=True)
        others = [MemGroup().copy(b"B" * 60000) for _ in range(200)]
        print("before", flush=True)
        print("other data:", bytes(view))
    """)


def test_memory_of_a_forced_free_is_really_given_back(child):
    given_back = child.output("""
        def shared():
            fields = dict(line.split(":") for line in open("/proc/self/status"))
            return sum(int(fields[name].split()[0]) for name in ("RssShmem", "RssFile", "RssAnon"))
        warnings.simplefilter("ignore")
        group = MemGroup()
        block = group.alloc(100 << 20, zero=False)
        view = memoryview(block)
        ctypes.memset(block.address, 1, 100 << 20)
        before = shared()
        group.free(force=True)
        print((before - shared()) >> 10)
    """)
    assert int(given_back) >= 99


# 4. After the end


def ended_by(how: str, *, backing: str = "memfd"):
    """A group that has ended in one of its ways, and a block, a protected one and an empty one of it."""
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
def test_every_use_of_an_ended_group_says_so(how, use):
    group, block, *_ = ended_by(how)
    with pytest.raises(ValueError, match="freed"):
        use(group, block)


@pytest.mark.parametrize("use", BLOCK_USES.values(), ids=BLOCK_USES)
@pytest.mark.parametrize("how", [*ENDS, "reset"])
def test_every_use_of_a_block_of_an_ended_group_says_so(how, use):
    _, *blocks = ended_by(how)
    for block in blocks:
        with pytest.raises(ValueError, match="freed"):
            use(block)


@pytest.mark.parametrize("how", ["free", "force"])
def test_stats_of_a_freed_group_say_so(how):
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
    assert group.free(force=force) is None
    assert group.free(force=force) is None
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


def test_code_of_the_user_may_end_the_group_amid_a_use(child):
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


def test_slots_set_aside_go_with_their_last_exporter(name):
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


def test_free_takes_slots_set_aside_along(name):
    group = MemGroup(name=name)
    block = group.copy(CONTENTS)
    address = block.address
    group.reset()
    group.free()
    assert mappings(name) == 0
    assert access_to(address) == "---p"


def test_blocks_of_an_earlier_life_stay_dead_when_their_bytes_are_handed_out_again(group):
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

QUIET = ("-X", "dev", "-W", "error")

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


def test_a_with_block_without_views_is_quiet_where_warnings_are_errors(child):
    code = """
        with MemGroup() as group:
            block = group.copy(b"abc")
            bytes(block)
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
    assert "ResourceWarning" not in ended.stderr


def test_only_free_is_told_of_force():
    group = MemGroup()
    view = memoryview(group.copy(CONTENTS))
    with pytest.raises(BufferError, match="force=True"):
        group.free()
    with pytest.raises(BufferError) as refused:
        group.reset()
    assert "force" not in str(refused.value)
    view.release()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_repr_tells_of_views_that_delay_the_end():
    with MemGroup(name="ended") as group:
        view = memoryview(group.copy(CONTENTS))
    assert repr(group) == '<MemGroup "ended", freed but for 1 view>'
    view.release()
    assert repr(group) == '<MemGroup "ended", freed>'


def test_an_empty_view_at_the_seam_of_two_groups_belongs_to_its_own():
    groups = [MemGroup(base=4096) for _ in range(8)]
    blocks = [group.alloc(4096) for group in groups]
    for block, owner in zip(blocks, groups, strict=True):
        behind_the_last = memoryview(block)[4096:]
        assert not any(behind_the_last in group for group in groups if group is not owner)
