"""The layout of a picture: VMAs are rows, anon_vmas are columns, a chain entry is a dot where the two meet.

Therefore no line crosses a box, for any family. Pages are columns, too, with a cell for each page table
entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgroup.display.rmap.columns import LIST, Columns, middle, plan_columns
from memgroup.display.rmap.legend import plan_legend, widest
from memgroup.display.rmap.rows import Rows, plan_rows
from memgroup.display.rmap.shapes import FONT, LINE, Cell, Dot, Label, Layout, Line, text_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memgroup.display.rmap.shapes import DotRole, LineRole, Shape
    from memgroup.display.rmap.state import AnonVma, Page, State, Vma, Walk

_MARGIN = 18.0
_LANE = 9.0
_BELOW = 16.0
_MOST_BROKEN = 6
# A column that no page points to.
_NOWHERE = LIST - 1


def lay_out(state: State) -> Layout:
    """The picture of a machine at one moment."""
    headline = _headline(state)
    broken = _broken(state)
    left = _MARGIN
    heading_bottom = _MARGIN + LINE * len(headline) + 8

    # Widths first: they do not depend on heights.
    width_of_rows = plan_rows(state, left, 0).width
    columns_at = plan_columns(state, left + width_of_rows + 30)
    pointing = [page for page in state.pages if _target(page, state) in columns_at(0).heads]
    lanes = len(pointing) * _LANE + 12 if pointing else 0.0
    columns = columns_at(heading_bottom + lanes)
    rows_top = heading_bottom + lanes + columns.height + (_space_below(state) if columns.height else 0)
    rows = plan_rows(state, left, rows_top)

    text_right = left + max(map(text_width, (*headline, *broken)))
    right = max(columns.right, left + rows.width, text_right, left + widest(state.has_chains))
    drawn: list[Shape] = [
        *rows.band_shapes(rows_top, left - 8, right - left + 16),
        *_rails(state, rows, columns),
        *_mappings(state, pointing, columns, heading_bottom),
        *rows.lines,
        *rows.boxes,
        *columns.heads.values(),
        *columns.pages.values(),
        *_dots(state, rows, columns),
        *_cells(state, rows, columns),
    ]
    bottom = rows_top + rows.height + _BELOW
    for line, text in enumerate(broken):
        drawn.append(Label(left, bottom + FONT + line * LINE, text, "broken"))
    bottom += len(broken) * LINE + (8 if broken else 0)
    legend, bottom = plan_legend(drawn, state.has_chains, left, bottom, right)
    title = Label(left, _MARGIN + FONT, headline[0], "title")
    captions = [
        Label(left, _MARGIN + FONT + LINE * line, text, "caption")
        for line, text in enumerate(headline[1:], start=1)
    ]
    summary = ". ".join([*headline, *broken])
    return Layout(right + _MARGIN, bottom + _MARGIN / 2, summary, (*drawn, *legend, title, *captions))


def _space_below(state: State) -> float:
    """The space between the boxes of anon_vmas and the rows; visits of contexts without a VMA are there."""
    visits = state.walk.visits if state.walk else ()
    return 2 * _BELOW if any(visit.vma is None for visit in visits) else _BELOW


def _headline(state: State) -> list[str]:
    page, walk = state.walked, state.walk
    if page is None or walk is None:
        return [state.policy]
    if not page.mapped_by:
        return [state.policy, f"page {page.id} is in no page table: nothing to walk to"]
    return [
        state.policy,
        f"walk of page {page.id}: visits {_visited(walk)}, finds {len(page.found)} of"
        f" {_count(len(page.mapped_by), 'page table entry', 'page table entries')}; unmapping it visits"
        f" {walk.unmap_visits}",
    ]


def _visited(walk: Walk) -> str:
    contexts = sum(visit.vma is None for visit in walk.visits)
    without = f" and {_count(contexts, 'context')} without one" if contexts else ""
    return _count(len(walk.visits) - contexts, "VMA") + without


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _broken(state: State) -> list[str]:
    left_out = len(state.broken) - _MOST_BROKEN
    more = [f"and {left_out} more"] if left_out > 0 else []
    return [*state.broken[:_MOST_BROKEN], *more]


def _target(page: Page, state: State) -> int:
    """The column that a page points to: `LIST` for the VMAs of its shared mapping, if they are drawn."""
    if page.mapping is not None:
        return page.mapping
    return LIST if page.shared and page == state.walked else _NOWHERE


def _linked(vma: Vma, anon_vmas: tuple[AnonVma, ...]) -> list[int]:
    """The anon_vmas that have a VMA as a member: designs without chains have such lists, too."""
    return [anon_vma.id for anon_vma in anon_vmas if vma.id in anon_vma.members]


def _numbers(state: State) -> dict[tuple[int, int | None], int]:
    """The number of each visit of the walk, by column and VMA."""
    page, walk = state.walked, state.walk
    if walk is None or page is None:
        return {}
    return {
        (LIST if anon_vma is None else anon_vma, vma): number
        for number, (anon_vma, vma) in enumerate(walk.visits, start=1)
    }


def _walked_columns(state: State) -> set[int]:
    """The columns that the walk goes down; without a visit, the one that its page points to."""
    page = state.walked
    if page is None:
        return set()
    return {LIST if page.mapping is None else page.mapping, *(column for column, _ in _numbers(state))}


def _dots(state: State, rows: Rows, columns: Columns) -> Iterator[Dot]:
    numbers = _numbers(state)
    page = state.walked
    for (id_, visited), visit in numbers.items():
        if visited is None:  # a context whose process has no VMA for the page
            head = columns.heads[id_]
            yield Dot(middle(head), head.area.bottom + _BELOW, "vain", number=visit)
    for vma in state.vmas:
        y = rows.middles[vma.id]
        linked = _linked(vma, state.anon_vmas)
        if (LIST, vma.id) in numbers:
            linked.append(LIST)
        for id_ in linked:
            number = numbers.get((id_, vma.id))
            is_own = state.has_chains and id_ == vma.anon_vma
            role: DotRole = "entry"
            if number is not None and page is not None:
                role = "found" if vma.process in page.mapped_by and _holds(vma, page) else "vain"
            yield Dot(middle(columns.heads[id_]), y, role, is_own, number)


def _holds(vma: Vma, page: Page) -> bool:
    return vma.at <= page.at < vma.at + vma.stop - vma.start


def _cells(state: State, rows: Rows, columns: Columns) -> Iterator[Cell]:
    for page in state.pages:
        x = middle(columns.pages[page.id])
        for vma in state.vmas:
            if not _holds(vma, page):
                continue
            y = rows.middles[vma.id]
            if vma.process in page.mapped_by:
                is_lost = vma.process not in page.found
                yield Cell(x, y, "lost" if is_lost else "walked" if page == state.walked else "mapped")
            elif vma.process in page.swapped_by:
                yield Cell(x, y, "swapped")


def _rails(state: State, rows: Rows, columns: Columns) -> Iterator[Line]:
    """Chains as lines to the right, members and page table entries as lines down."""
    walked = _walked_columns(state)
    dots = list(_dots(state, rows, columns))
    right_of_vmas = max((box.area.right for box in rows.boxes), default=0.0)
    for y in dict.fromkeys(dot.y for dot in dots):
        furthest = max(dot.x for dot in dots if dot.y == y)
        yield Line(((right_of_vmas, y), (furthest, y)), "chain")
    for id_, box in columns.heads.items():
        below = [dot.y for dot in dots if dot.x == middle(box)]
        if below:
            ends = ((middle(box), box.area.bottom), (middle(box), max(below)))
            yield Line(ends, "walk" if id_ in walked else "members")
    cells = list(_cells(state, rows, columns))
    for box in columns.pages.values():
        below = [cell.y for cell in cells if cell.x == middle(box)]
        if below:
            yield Line(((middle(box), box.area.bottom), (middle(box), max(below))), "entries")


def _mappings(state: State, pointing: list[Page], columns: Columns, top: float) -> Iterator[Line]:
    """Lines from each page to the start of its walk, in lanes above the boxes, the first page's lowest."""
    taken: dict[int, int] = {}
    for lane, page in enumerate(pointing):
        target = _target(page, state)
        head, box = columns.heads[target], columns.pages[page.id]
        shares = sum(_target(other, state) == target for other in pointing)
        taken[target] = taken.get(target, 0) + 1
        # Lines from the right end on the right.
        x = head.x + head.width * taken[target] / (shares + 1)
        y = top + (len(pointing) - lane - 1) * _LANE
        role: LineRole = "dangling" if page.dangling else "walked" if page == state.walked else "mapping"
        yield Line(((middle(box), box.y), (middle(box), y), (x, y), (x, head.y - 1)), role)
