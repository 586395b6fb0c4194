"""The garbage collector sees every reference of each class, so no reference cycle keeps a group forever."""

from __future__ import annotations

import gc
import importlib
import inspect
import pkgutil
import socket
import weakref

import memgroup
import pytest
from memgroup import MemGroup, _memgroup, rmap

TRACKED = 1 << 14  # Py_TPFLAGS_HAVE_GC


class Witness:
    """An object that supports weak references, to notice when it is collected."""


def a_list(group):
    return group.alloc_many([1, 2, 3])


def a_machine():
    machine = rmap.Machine()
    process = machine.spawn()
    return machine, process


def a_vma():
    machine, process = a_machine()
    return process.mmap(1), [machine]


def stats_of(group):
    stats = group.stats()
    return stats, [stats.slots]


def list_of(group):
    return a_list(group), [group]


def borrower_of(group):
    lender = bytearray(b"lent")
    group.borrow(lender)
    return group, [lender]


def blocks_of(group):
    listed = a_list(group)
    return iter(listed), [listed]


def arrow_of(group):
    listed = a_list(group)
    return listed.as_arrow(), [listed]


def strided_view_of(group):
    block = group.alloc(10)
    return group.protect(memoryview(block)[::2]).obj, None


def frames_of(group):
    ours, theirs = socket.socketpair()
    theirs.close()
    return group.frames(ours), [group, ours]


def numpy_of(group):
    pytest.importorskip("numpy")
    return group.numpy(), [group]


def process_of(_group):
    machine, process = a_machine()
    return process, [machine]


def pool_of(group):
    return group.pool(10), [group]


HOLDERS = {
    "MemGroup": borrower_of,
    "GroupStats": stats_of,
    "MemList": list_of,
    "MemPool": pool_of,
    "Blocks": blocks_of,
    "ArrowArray": arrow_of,
    "StridedView": strided_view_of,
    "FrameReader": frames_of,
    "NumpyMemory": numpy_of,
    "Process": process_of,
    "Vma": lambda _group: a_vma(),
}
"""By class: an object of it and what it holds. Those that the modules do not name are made on the way."""

CANNOT_HOLD = {
    "MemBlock": "holds its group alone, untracked: a cycle through a block lasts until its group ends",
    "SlotStats": "numbers",
    "PoolStats": "numbers",
    "WarmMemory": "numbers",
    "Pattern": "what it looks for, as Rust compiled it",
    "Parcel": "shared memory by its descriptors",
    "ReceivedParcel": "shared memory by its descriptors",
    "TreeWalk": "paths, and bytes of the crate's own",
    "Machine": "the model holds no object",
    "Broken": "holds a process or None, and is made of a model that is broken",
}


def native_classes():
    modules = (_memgroup, *(vars(_memgroup)[name] for name in vars(_memgroup) if name == "rmap"))
    return {
        value.__name__
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and not issubclass(value, BaseException)
    }


def test_every_class_is_in_the_table():
    assert native_classes() <= HOLDERS.keys() | CANNOT_HOLD.keys()


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_the_collector_sees_what_an_object_holds(group, make):
    holder, held = make(group)
    assert type(holder).__flags__ & TRACKED
    assert gc.is_tracked(holder)
    seen = {id(referent) for referent in gc.get_referents(holder)}
    if held is None:
        assert any(type(referent).__name__ == "MemBlock" for referent in gc.get_referents(holder))
    else:
        assert {id(thing) for thing in held} <= seen
        for source in held:
            if isinstance(source, socket.socket):
                source.close()


def test_a_result_in_a_cycle_of_its_own_errors_is_collected(group):
    result = group.read_files(["/nonexistent"])
    gone = weakref.ref(witness := Witness())
    result.errors["cycle"] = result
    result.errors["witness"] = witness
    del result, witness
    gc.collect()
    assert gone() is None


def test_a_group_that_a_traceback_holds_through_a_result_is_collected():
    groups = []

    def load():
        group = MemGroup()
        groups.append(weakref.ref(group))
        found = group.read_files(["/nonexistent"])
        for error in found.errors.values():
            raise error

    for _ in range(5):
        with pytest.raises(FileNotFoundError):
            load()
    gc.collect()
    assert [group() for group in groups] == [None] * 5


def test_a_reader_in_a_cycle_with_its_source_is_collected(group):
    class Source:
        def __init__(self, file):
            self.file = file

        def fileno(self):
            return self.file.fileno()

    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = Source(ours)
        vars(source)["reader"] = group.frames(source)
        gone = weakref.ref(source)
        del source
        gc.collect()
        assert gone() is None


def python_classes():
    for info in pkgutil.walk_packages(memgroup.__path__, "memgroup."):
        if info.name.endswith(("__main__", "._memgroup")):
            continue
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name != "pyarrow":
                raise
            continue
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                yield value


def test_objects_of_classes_written_in_python_are_tracked():
    classes = [
        value
        for value in python_classes()
        if value.__mro__[1:] == (object,) and getattr(value, "__slots__", True) != ()
    ]
    assert len(classes) > 20
    assert [value for value in classes if not value.__flags__ & TRACKED] == []
