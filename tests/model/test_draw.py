"""Pictures of the reverse-mapping model: nothing overlaps, broken invariants are visible, data is right."""

from __future__ import annotations

import importlib.util
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memgroup.display.rmap.layout import lay_out
from memgroup.display.rmap.shapes import Box, Cell, Dot, Label, Line, text_width
from memgroup.display.rmap.state import excess, read
from memgroup.rmap import POLICIES, Drawing, Machine

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def layout_of(machine, page=None):
    return lay_out(read(machine, page))


def of_kind(layout, kind, *roles):
    return [
        shape for shape in layout.shapes if isinstance(shape, kind) and (not roles or shape.role in roles)
    ]


def without_legend(shapes):
    """The dots and cells above the legend, which shows each sign once more."""
    bottom = max((shape.area.bottom for shape in shapes if isinstance(shape, Box) and shape.lines), default=0)
    return [shape for shape in shapes if isinstance(shape, (Dot, Cell)) and shape.y < bottom]


def texts(drawing):
    return [element.text for element in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


# Histories of a small family, with every object that a picture can have


OFTEN = ["fork", "fork", "write", "write", "write", "read", "swap", "swap in"]
SELDOM = ["exit", "mmap", "munmap", "mprotect", "dontfork", "wipeonfork", "shared"]
STEPS = st.tuples(
    st.sampled_from(OFTEN * 2 + SELDOM), st.integers(0, 40), st.integers(0, 7), st.integers(1, 3)
)


def play(policy, order, steps, most=12):
    """A machine after some steps; refused steps do nothing."""
    machine = Machine(policy, clone_order=order)
    machine.spawn().mmap(6, at=16)
    for what, who, page, pages in steps:
        processes = machine.processes()
        process = processes[who % len(processes)] if processes else machine.spawn()
        page += 16
        try:
            match what:
                case "fork":
                    if len(processes) < most:
                        process.fork()
                case "write":
                    process.write(page)
                case "read":
                    process.read(page)
                case "exit":
                    process.exit()
                case "swap":
                    known = machine.pages()
                    if known:
                        machine.swap_out(known[who % len(known)])
                case "swap in":
                    for one in machine.graph()["pages"]:
                        if process.pid in one["swapped_by"]:
                            process.read(one["index"])
                case "mmap":
                    process.mmap(pages, at=page)
                case "shared":
                    process.mmap(pages, at=page, shared=True)
                case "munmap":
                    process.munmap(page, pages)
                case "mprotect":
                    process.mprotect(page, pages, "r" if who % 2 else "rw")
                case _:
                    process.madvise(page, pages, what)
        except (LookupError, PermissionError, ValueError):
            pass
    return machine


# Lists of every length with equal probability, because hypothesis prefers short ones.
# The one with a bug, more often.
DRAWN_POLICIES = [*POLICIES, "avc_rc1"]

FAMILIES = st.builds(
    play,
    st.sampled_from(DRAWN_POLICIES),
    st.sampled_from([None, None, "keeps", "reverses"]),
    st.integers(0, 80).flatmap(lambda length: st.lists(STEPS, min_size=length, max_size=length)),
)


def drawn(machine, page):
    """The layout, or None where the picture is refused."""
    if excess(machine.counts(), one_page=page is not None):
        with pytest.raises(ValueError, match="too much for one picture"):
            layout_of(machine, page)
        return None
    return layout_of(machine, page)


def overlap(one, other):
    return (
        min(one.right, other.right) - max(one.left, other.left) > 0.05
        and min(one.bottom, other.bottom) - max(one.top, other.top) > 0.05
    )


def crosses(line, area):
    """Whether a line with right angles goes through the inside of an area."""
    return any(
        min(x1, x2) < area.right - 0.05
        and max(x1, x2) > area.left + 0.05
        and min(y1, y2) < area.bottom - 0.05
        and max(y1, y2) > area.top + 0.05
        for (x1, y1), (x2, y2) in itertools.pairwise(line.points)
    )


def check_layout(layout):
    solids = of_kind(layout, (Box, Dot, Cell, Label))
    areas = sorted((shape.area, number) for number, shape in enumerate(solids))
    for place, (area, number) in enumerate(areas):
        assert area.left >= 0
        assert area.top >= 0
        assert area.right <= layout.width
        assert area.bottom <= layout.height
        for other, other_number in areas[place + 1 :]:
            if other.left >= area.right:
                break  # and so are all after it
            assert not overlap(area, other), (solids[number], solids[other_number])
    for line in of_kind(layout, Line):
        for shape in of_kind(layout, (Box, Label)):
            assert not crosses(line, shape.area), (line, shape)
    for box in of_kind(layout, Box):
        assert all(text_width(text) <= box.width - 4 for text in box.lines)
        assert len(box.lines) * 15 <= box.height


@given(FAMILIES, st.data())
def test_nothing_overlaps(machine, data):
    pages = machine.pages()
    page = data.draw(st.sampled_from([None, *pages]))
    layout = drawn(machine, page)
    if layout is not None:
        check_layout(layout)
        assert layout == layout_of(machine, page)


@given(FAMILIES)
def test_a_picture_shows_every_object(machine):
    layout = drawn(machine, None)
    if layout is None:
        return
    graph = machine.graph()
    boxes = {box.lines[0]: box for box in of_kind(layout, Box) if box.lines}
    for process in graph["processes"]:
        assert f"process {process['pid']}" in boxes
    signs = without_legend(layout.shapes)
    assert sum(isinstance(sign, Dot) for sign in signs) == sum(
        len(anon_vma["members"]) for anon_vma in graph["anon_vmas"]
    )
    assert sum(isinstance(sign, Cell) for sign in signs) == sum(
        len(page["mapped_by"]) + len(page["swapped_by"]) for page in graph["pages"]
    )
    # Each chain entry where its row and its column meet.
    vmas = iter(box for box in of_kind(layout, Box, "vma"))
    in_order = process_order(graph)
    rows = {}
    for pid in in_order:
        for vma in graph["vmas"]:
            if vma["process"] == pid:
                box = next(vmas)
                assert box.lines[0].startswith(f"{vma['start']}:{vma['stop']} ")
                rows[vma["id"]] = box.y + box.height / 2
    dots = {(sign.x, sign.y) for sign in signs if isinstance(sign, Dot)}
    for anon_vma in graph["anon_vmas"]:
        head = boxes[f"anon_vma {anon_vma['id']}"]
        for member in anon_vma["members"]:
            assert (head.x + head.width / 2, rows[member]) in dots
    # The picture shows every broken invariant, and only those.
    lost = [sign for sign in signs if isinstance(sign, Cell) and sign.role == "lost"]
    broken = [one for one in machine.check() if one.page is not None and one.process is not None]
    assert len(lost) == len({(one.page, one.process) for one in broken})
    dangling = {page["mapping"] for page in graph["pages"] if page["dangling"]}
    freed = [box for box in of_kind(layout, Box, "freed") if box.lines]
    assert {box.lines for box in freed} == {(f"anon_vma {id_}", "freed") for id_ in dangling}


def process_order(graph):
    """Each process, then its children by birth."""
    alive = {process["pid"] for process in graph["processes"]}
    children = {}
    for process in graph["processes"]:
        children.setdefault(process["parent"] if process["parent"] in alive else 0, []).append(process["pid"])

    def below(pid):
        for child in children.get(pid, []):
            yield child
            yield from below(child)

    return list(below(0))


@given(FAMILIES, st.data())
def test_the_numbers_are_the_walk(machine, data):
    pages = machine.pages()
    if not pages:
        return
    page = data.draw(st.sampled_from(pages))
    layout = drawn(machine, page)
    if layout is None:
        return
    visits = [sign for sign in without_legend(layout.shapes) if isinstance(sign, Dot) and sign.number]
    assert sorted(visit.number or 0 for visit in visits) == list(range(1, machine.walk_visits(page) + 1))
    assert len({visit.x for visit in visits}) <= 1 or machine.policy == "cow_context"
    mapping = {process.pid for process in machine.mapped_by(page)}
    found = {process.pid for process, _ in machine.walk(page)} & mapping
    assert sum(visit.role == "found" for visit in visits) == len(found)
    # In the order of the walk, by increasing number.
    rows = {box.y + box.height / 2: box.lines[0].split(" ")[0] for box in of_kind(layout, Box, "vma")}
    index = next(one["index"] for one in machine.graph()["pages"] if one["id"] == page)
    in_order = sorted(visits, key=lambda visit: visit.number or 0)
    seen = [rows[visit.y] for visit in in_order if visit.y in rows]
    assert len(seen) == len(visits) or machine.policy == "cow_context"
    holding = [text for text in seen if int(text.split(":")[0]) <= index < int(text.split(":")[1])]
    assert holding == [f"{vma.start}:{vma.stop}" for _, vma in machine.walk(page)]


@settings(max_examples=20)
@given(FAMILIES)
def test_the_text_is_svg_and_always_the_same(machine):
    if drawn(machine, None) is None:
        assert machine._repr_svg_() is None
        return
    drawing = machine.draw()
    root = ET.fromstring(drawing.svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert machine.draw() == drawing
    assert hash(machine.draw()) == hash(drawing)
    assert machine._repr_svg_() == drawing._repr_svg_() == drawing.svg
    # Two pictures in one page of HTML do not disturb each other, nor the page.
    assert not [element for element in root.iter() if element.get("id")]
    style = root.find(f"{SVG}style")
    assert style is not None
    assert style.text is not None
    inside = style.text.removeprefix("@media (prefers-color-scheme:dark){").removesuffix("}")
    assert re.fullmatch(r"(\.rmap-[a-z-]+\{[a-z:#0-9;]+\})+", inside)
    assert {element.get("class") for element in root.iter()} - {None} <= set(
        re.findall(r"rmap-[a-z-]+", inside)
    )


# Specific pictures


def seed():
    machine = Machine("avc_rc1")
    a = machine.spawn()
    start = a.mmap(1).start
    page = a.write(start)
    b = a.fork()
    machine.swap_out(page)
    b.read(start)
    a.read(start)
    return machine, page, b


def test_the_bug_shows():
    machine, page, b = seed()
    lost = layout_of(machine, page)
    assert [cell.role for cell in without_legend(lost.shapes) if isinstance(cell, Cell)] == ["lost", "walked"]
    (said,) = of_kind(lost, Label, "broken")
    assert said.text == str(machine.check()[0])
    b.exit()
    for layout in (layout_of(machine, page), layout_of(machine)):
        check_layout(layout)
        (dangling,) = of_kind(layout, Line, "dangling")
        (freed,) = [box for box in of_kind(layout, Box, "freed") if box.lines]
        assert freed.lines == ("anon_vma 1", "freed")
        assert freed.x < dangling.points[-1][0] < freed.x + freed.width
        (cell,) = [cell for cell in without_legend(layout.shapes) if isinstance(cell, Cell)]
        assert cell.role == "lost"
    assert "freed: the page's mapping dangles" in texts(machine.draw())


def test_a_walk_of_contexts_goes_down_from_one_to_others():
    machine = Machine("cow_context")
    parent = machine.spawn()
    start = parent.mmap(2).start
    page = parent.write(start)
    middle, other = parent.fork(2)
    last = middle.fork()
    middle.exit()
    other.munmap(start, 1)
    layout = layout_of(machine, page)
    check_layout(layout)
    visits = [sign for sign in without_legend(layout.shapes) if isinstance(sign, Dot) and sign.number]
    by_column = [visit.role for visit in sorted(visits, key=lambda visit: visit.x)]
    assert [visit.number for visit in sorted(visits, key=lambda visit: visit.x)] == [1, 2, 4, 3]
    assert by_column == ["found", "vain", "vain", "found"]
    assert len(of_kind(layout, Line, "walk")) == 4
    said = "visits 2 VMAs and 2 contexts without one, finds 2 of 2 page table entries"
    assert any(said in text for text in texts(machine.draw(page)) if text)
    assert last in machine.mapped_by(page)


def test_the_legend_has_only_signs_of_the_picture():
    machine = Machine("modern")
    assert texts(machine.draw()) == ["modern"]
    process = machine.spawn()
    page = process.write(process.mmap(1).start)
    assert "page table entry" in texts(machine.draw())
    assert not [text for text in texts(machine.draw()) if text and "freed" in text]
    assert "visit of the walk, in order: maps the page" in texts(machine.draw(page))
    machine.swap_out(page)
    assert "page table entry: in swap" in texts(machine.draw())
    assert f"page {page} is in no page table: nothing to walk to" in texts(machine.draw(page))


def test_an_orphan_names_its_former_owner():
    machine = Machine("modern")
    parent = machine.spawn()
    parent.fork()
    parent.exit()
    assert texts(machine.draw()) == ["process 2", "of 1, exited", "modern"]


def test_long_chains_are_cut_and_the_ends_stay():
    machine = Machine("modern")
    last = machine.spawn()
    last.write(last.mmap(1).start)
    for _ in range(15):
        last = last.fork()
    assert "chain 15 14 13 12 11 … 0" in texts(machine.draw())
    check_layout(layout_of(machine))


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(dark):
    """Every text colour against every background colour, with the contrast that WCAG requires."""
    machine, page, b = seed()
    b.exit()
    svg = machine.draw(page).svg
    colours = dict(re.findall(r'class="(rmap-[a-z-]+)" fill="(#[0-9a-f]{6})"', svg))
    if dark:
        colours = dict(re.findall(r"\.(rmap-[a-z-]+)\{fill:(#[0-9a-f]{6})", svg))

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text in ("rmap-ink", "rmap-soft", "rmap-bad"):
        for behind in ("rmap-paper", "rmap-band", "rmap-head", "rmap-process"):
            one, other = sorted([luminance(colours[text]), luminance(colours[behind])])
            assert (other + 0.05) / (one + 0.05) >= 4.5, (text, behind)


# Refusals


def test_too_large_a_family_is_refused_and_jupyter_shows_its_repr():
    machine = Machine("modern")
    first = machine.spawn()
    page = first.write(first.mmap(1).start)
    first.fork(1_000)
    with pytest.raises(
        ValueError, match=r"too much for one picture: 1,001 processes \(32 at most\), 1,001 VMAs"
    ):
        machine.draw(page)
    assert machine._repr_svg_() is None
    assert machine.check() == []


def test_of_too_many_pages_one_is_drawn():
    machine = Machine("modern")
    process = machine.spawn()
    start = process.mmap(100).start
    ids = [process.write(page) for page in range(start, start + 100)]
    with pytest.raises(ValueError, match=r"100 pages \(24 at most\); pass the id of a page to draw it alone"):
        machine.draw()
    assert machine._repr_svg_() is None
    assert "page 50" in texts(machine.draw(ids[50]))
    assert "page 51" not in texts(machine.draw(ids[50]))


def test_invalid_pages():
    machine = Machine("modern")
    process = machine.spawn()
    page = process.write(process.mmap(1).start)
    assert machine.draw(page=page) == machine.draw(page) != machine.draw()
    process.exit()
    cases = [
        (LookupError, f"page {page} is gone", page),
        (LookupError, "page 77 is gone", 77),
        (ValueError, "must not be negative", -1),
        (TypeError, "a page id must be an integer", "0"),
    ]
    for kind, message, wrong in cases:
        with pytest.raises(kind, match=message):
            machine.draw(wrong)


def test_a_machine_that_keeps_changing_is_refused(monkeypatch):
    """Changes the machine at every read, as another thread could."""
    machine = Machine("modern")
    process = machine.spawn()
    real = Machine.check

    def check(self):
        if process.vmas():
            process.munmap(5, 1)
        else:
            process.mmap(1, at=5)
        return real(self)

    monkeypatch.setattr(Machine, "check", check)
    with pytest.raises(RuntimeError, match="other threads changed"):
        machine.draw()


# Files


def test_a_drawing_is_saved_as_it_is(tmp_path):
    drawing = Machine("modern").draw()
    drawing.save(tmp_path / "picture.svg")
    drawing.save(str(tmp_path / "again.svg"))
    assert (tmp_path / "picture.svg").read_bytes() == drawing.svg.encode()
    assert (tmp_path / "again.svg").read_bytes() == drawing.svg.encode()
    assert repr(drawing) == f"<Drawing, {len(drawing.svg):,} characters of SVG>"
    assert drawing != drawing.svg
    assert Drawing(drawing.svg) == drawing
    with pytest.raises(FileNotFoundError):
        drawing.save(tmp_path / "nowhere" / "picture.svg")


# The chapter of the docs


def test_the_pictures_of_the_docs_match_their_samples():
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.pictures()
    kept = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "img" / "rmap").glob("*.svg")}
    assert {name: drawing.svg for name, drawing in made.items()} == kept, "run python docs/draw.py"
    shown = re.findall(r"!\[[^]]+\]\(img/rmap/([a-z0-9-]+\.svg)\)", (DOCS / "reverse-mapping.md").read_text())
    assert sorted(shown) == sorted(made)
    assert len(made) > 15
