"""`protect` and `unprotect` refuse elements that refer to objects, in every kind of argument."""

from __future__ import annotations

import ctypes

import pytest
from memgroup import MemGroup

np = pytest.importorskip("numpy")

RECORD = [("number", "i4"), ("object", object)]
NESTED = [("O", "u1"), ("inner", [("list", object, (2,))])]

MAKE = {
    "objects": lambda: np.array([1000, "text", None], object),
    "records": lambda: np.zeros(3, RECORD),
    "nested records": lambda: np.zeros(3, NESTED),
    "no objects": lambda: np.empty(0, object),
    "part": lambda: np.array([1000, "text", None], object)[::-2],
    "one field": lambda: np.zeros(3, RECORD)[["object"]],
}

DOORS = {
    "array": lambda array: array,
    "memoryview": memoryview,
    "memoryview of a memoryview": lambda array: memoryview(memoryview(array)),
    "slice": lambda array: memoryview(array)[:1],
    "empty slice": lambda array: memoryview(array)[:0],
    "read-only": lambda array: memoryview(array).toreadonly(),
}


@pytest.mark.parametrize("verb", ["protect", "unprotect"])
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_elements_that_refer_to_objects_are_refused(group, make, door, verb):
    with group.numpy():
        made = make()
    shown = door(made)
    before = group.stats().exports
    with pytest.raises(TypeError, match=f"cannot {verb} a .*refer to objects"):
        getattr(group, verb)(shown)
    assert group.stats().exports == before


def test_pointers_to_objects_of_ctypes_are_refused(group):
    with pytest.raises(TypeError, match="refer to objects"):
        group.protect(memoryview((ctypes.py_object * 2)(1, 2)))


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="numpy 1")
def test_strings_of_variable_size_are_refused(group):
    with group.numpy():
        made = np.array(["a", "b" * 100], np.dtypes.StringDType())
    with pytest.raises(TypeError, match="refer to objects"):
        group.protect(made)


def test_a_field_that_is_only_named_like_objects_is_accepted(group):
    made = group.zeros(3, [("O", "i4"), ("FOO", "u1")])
    assert ":O:" in memoryview(made).format
    protected = group.protect(memoryview(made))
    assert group.protect(made).dtype == made.dtype
    assert np.asarray(protected).dtype == made.dtype


def test_elements_are_checked_before_the_group():
    group, other = MemGroup(), MemGroup()
    with other.numpy():
        made = np.array([[], {}], object)
    with pytest.raises(TypeError, match="refer to objects"):
        group.protect(made)
