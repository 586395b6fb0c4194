"""Displays of a group: its repr, and the map of its slots as text, in rich and in Jupyter."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import memgroup
import pytest
from memgroup import MemGroup
from memgroup.display.report import Bar
from memgroup.display.slots import slot_map
from rich.console import Console

VOID = {"br", "hr", "img", "input", "meta", "link"}


class Seen(HTMLParser):
    """Text, attributes and well-formedness of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.styles: list[str] = []
        self.labels: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in VOID
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attrs:
            assert name in {"style", "scope", "role", "aria-label", "title"}
            if name == "style":
                self.styles.append(value or "")
            if name == "aria-label":
                self.labels.append(value or "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def drawn(thing: object, width: int = 100) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(thing)
    return text.getvalue()


# Protected bytes


def test_protected_bytes_are_counted_where_they_lie(mirrored):
    group = MemGroup(base=4096, backing=mirrored)
    small, large = group.alloc(100), group.alloc(5000)
    assert group.stats().protected == 0
    protected = group.protect(small)
    group.protect(memoryview(large)[1000:3000])
    assert [slot.protected for slot in group.stats().slots] == [100, 2000]
    assert group.stats().protected == 2100
    group.unprotect(protected)
    group.protect(protected)  # it is protected already: not counted again
    assert group.stats().protected == 2100
    group.protect(small)
    assert group.stats().protected == 2200


def test_protected_lists_count_with_the_gaps_that_allocation_counts(mirrored):
    group = MemGroup(base=4096, backing=mirrored)
    blocks = group.alloc_many([100] * 200)
    stats = group.stats()
    group.protect(blocks)
    # Equal to the allocated bytes, except where alignment moved the first block of a slot.
    assert [slot.protected for slot in group.stats().slots] == [slot.allocated for slot in stats.slots]
    before = group.stats().protected
    for part, many in (
        (blocks[:0], 0),
        (blocks[3:4], 100),
        (blocks[3:5], 212),
        (blocks[4:2:-1], 212),
        (blocks[:10:2], 500),
        (blocks[::-7][:3], 300),
    ):
        group.protect(part)
        assert group.stats().protected - before == many
        before = group.stats().protected


def test_refused_protection_is_not_counted(group):
    other = MemGroup(backing="anonymous")
    for foreign in (other.alloc(10), other.alloc_many([10])):
        with pytest.raises(ValueError, match="group"):
            group.protect(foreign)
        with pytest.raises(ValueError, match="memfd"):
            other.protect(foreign)
    assert group.stats().protected == other.stats().protected == 0


def test_a_reset_group_counts_anew(group):
    group.protect(group.copy(b"abc"))
    group.protect(group.alloc_many([5, 6]))
    assert group.stats().protected == 3 + 16 + 6
    group.reset()
    assert group.stats().protected == 0
    group.protect(group.copy(b"abcd"))
    assert group.stats().protected == 4


# For people


def test_a_repr_says_large_sizes_briefly(group):
    group.alloc(1023)
    assert "1 block, 1023 bytes, in 1 slot, 16 KiB committed, 0 views" in repr(group)
    group.alloc(1)
    assert "2 blocks, 1 KiB, in 1 slot" in repr(group)
    view = memoryview(group.alloc(10_300_000))
    # The last huge page is not full, where there are huge pages.
    assert re.search(r"3 blocks, 9.82 MiB, in 2 slots, (9.84|10.0) MiB committed, 1 view>", repr(group))
    assert len(view) == 10_300_000


def test_figures_print_as_a_map(group):
    group.protect(group.alloc(30_000))
    group.alloc(100_000)
    lines = str(group.stats()).splitlines()
    assert lines[0] == "Group"
    assert lines[1] == "2 blocks, 127 KiB, 0 live views"
    assert "29.3 KiB or 23.1 % of it protected" in lines[2]
    rows = [line.split() for line in lines if re.match(r"\s+\d+ ", line)]
    assert [(row[0], row[1]) for row in rows] == [("0", "64"), ("1", "128")]
    assert f"[{'=' * 15}-{' ' * 16}]" in lines[7]
    assert f"[{'#' * 24}-{' ' * 7}]" in lines[8]


def test_rich_and_jupyter_show_the_same_figures(group):
    group.protect(group.alloc(30_000))
    group.alloc(100_000)
    text = drawn(group)
    seen = Seen(group._repr_html_())
    words = " ".join(seen.text)
    for shown in (
        "2 blocks, 127 KiB, 0 live views",
        "23.1 % of it protected",
        "97.7 KiB",
        "100.0 %",
        "64 KiB",
    ):
        assert shown in text
        assert shown in words
    assert seen.tags.count("tr") == 3
    assert seen.labels == [
        "45.8 % used, 45.8 % protected, 50.0 % committed",
        "76.3 % used, 0.0 % protected, 78.1 % committed",
    ]
    # The HTML refers to no other file and sets no colour for its text.
    assert not re.search(r"https?:|url\(|<script|<style|class=", group._repr_html_())
    assert not any(re.search(r"(^|;)color:(?!inherit)", style) for style in seen.styles)


@pytest.mark.parametrize("width", [20, 40, 60, 71, 72, 80, 200])
def test_rich_stays_within_its_width(group, width):
    group.protect(group.alloc(30_000))
    group.alloc_many(count=5, size=1_000_000)
    assert all(len(line) <= width for line in drawn(group, width).splitlines())


def test_a_console_without_unicode_or_colour_tells_the_parts_apart(group):
    group.protect(group.alloc(20_000))
    group.alloc(10_000)
    assert re.search(r"▓+█+▒+·+", drawn(group))
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, "ascii", write_through=True)
    Console(file=ascii_only, width=100).print(group)
    assert re.search(rb"=+#+-+\.+", raw.getvalue())


@pytest.mark.parametrize("end", ["free", "leave"])
def test_an_ended_group_shows_only_that_it_has_ended(end):
    group = MemGroup(name="done")
    with group:
        group.alloc(10)
        if end == "free":
            group.free()
    assert drawn(group) == "Group done: freed\n"
    assert Seen(group._repr_html_()).text == ["Group done: freed"]


def test_an_empty_group_shows_no_table(backing):
    group = MemGroup(backing=backing, limit=5 << 20)
    assert "at most 5 MiB" in drawn(group, 500)
    assert "table" not in Seen(group._repr_html_()).tags
    assert str(group.stats()) == "Group\n0 blocks, 0 B, 0 live views"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", 'a"b&c', "two\nlines", "[red]x[/red]", "\x1b[31m"]
)
def test_any_name_is_harmless(name):
    group = MemGroup(name=name)
    group.alloc(1)
    html = group._repr_html_()
    assert "<script" not in html
    assert "\n" not in html
    assert "\x1b" not in html
    Seen(html)
    text = drawn(group)
    assert "\x1b" not in text
    assert "[red]" not in name or "[red]x[/red]" in text


def test_repeated_protection_is_shown_as_at_most_the_used_bytes(group):
    block = group.alloc(1000)
    for _ in range(5):
        group.protect(block)
    group.alloc(1000)
    assert group.stats().protected == 5000
    (row,) = slot_map(group).rows
    assert row.protected == row.used == 1008 + 1000
    assert row.tail == row.committed - row.used


def test_displaying_a_group_changes_nothing(group):
    group.protect(group.alloc(1000))
    before = repr(group.stats())
    drawn(group)
    group._repr_html_()
    str(group.stats())
    assert repr(group.stats()) == before


def test_importing_and_printing_plainly_loads_no_rich(child):
    code = """
    group = MemGroup()
    group.alloc(10)
    str(group.stats()), repr(group), group._repr_html_()
    print(sorted(name for name in sys.modules if name.split(".")[0] == "rich"))
    """
    assert child.output(code) == "[]"


@pytest.mark.parametrize(
    ("bar", "cells", "marked"),
    [
        (Bar(1.0, 1.0, 1.0), (10, 0, 0), 10),
        (Bar(0.5, 0.7, 0.2), (5, 2, 3), 2),
        (Bar(0.5, 0.7, 0.001), (5, 2, 3), 1),
        (Bar(0.5, 0.5, 0.499), (5, 0, 5), 4),
        (Bar(0.001, 0.5, 0.001), (1, 4, 5), 1),
        (Bar(0.0, 0.3), (0, 3, 7), 0),
    ],
)
def test_every_share_of_a_bar_shows(bar, cells, marked):
    assert (bar.cells(10), bar.marked_cells(10)) == (cells, marked)


def test_statistics_can_be_shown_after_their_group_is_gone():
    with MemGroup() as group:
        group.protect(group.alloc(5000))
        stats = group.stats()
    assert "1 block, 4.88 KiB" in drawn(stats)
    assert "1 block, 4.88 KiB" in stats._repr_html_()
    assert isinstance(stats, memgroup.GroupStats)
