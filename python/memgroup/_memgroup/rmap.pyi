"""The model of reverse mapping."""

from typing import Any, ClassVar, Self, SupportsIndex, final, overload

from memgroup.display.rmap.drawing import Drawing

@final
class Machine:
    """Processes that fork, and how one design of reverse mapping finds who maps a page.

    Args:
        policy: The design: one of `POLICIES`, or "running" for what the running kernel does. Without one, the
            newest.
        kernel: The version of a kernel whose design and rules to follow, as in "6.18.44", instead of a
            policy.
        clone_order: How forks copy chains, "keeps" or "reverses", if not as the design does: for one fix
            without the other.

    Raises:
        TypeError: An argument is no str.
        ValueError: It names nothing, or there is both a policy and a kernel.
        RuntimeError: By all that is done with it, in a child that was forked while another thread changed it.
    """

    POLICIES: ClassVar[tuple[str, ...]]
    """The names of the designs, oldest first."""
    def __new__(
        cls, policy: str | None = None, *, kernel: str | None = None, clone_order: str | None = None
    ) -> Self: ...
    @property
    def policy(self) -> str:
        """The design's name."""
    @property
    def kernel(self) -> str | None:
        """The kernel whose rules it follows, as in "6.18.44", or None if it was made without one."""
    @property
    def clone_order(self) -> str:
        """How forks copy chains: "keeps" (newest first) or "reverses"."""
    def spawn(self) -> Process:
        """Return a new process with nothing mapped, a child of nobody.

        Raises:
            MemoryError: There are as many processes as Linux numbers, 4,194,304, or there is no memory for
                more.
        """
    def processes(self) -> list[Process]:
        """Return the processes that live, by birth."""
    def pages(self) -> list[int]:
        """Return the ids of the pages that somebody maps, keeps in swap, or that a shared mapping holds."""
    def swap_out(self, page_id: SupportsIndex, /) -> bool:
        """Swap a page out: the walk takes away the page table entries that it finds.

        Returns:
            Whether it found all of them, so that the page left memory. It does in every design but the broken
            ones.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: The page is in no page table, or `page_id` is negative.
        """
    def walk(self, page_id: SupportsIndex, /) -> list[tuple[Process, Vma]]:
        """Return the places where a page can be mapped, as (process, VMA), in the order of a full walk.

        They hold the page's address, and need not map the page. Empty while nobody maps it, as after
        `swap_out` until somebody touches it again; only a page of a shared mapping is found all the same, by
        the mapping, in every design but "scan24". Empty, too, where a broken design has lost the way.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def walk_visits(self, page_id: SupportsIndex, /) -> int:
        """Return how many VMAs a full walk looks at: those of `walk`, and in a list also those elsewhere.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def unmap_visits(self, page_id: SupportsIndex, /) -> int:
        """Return how many VMAs unmapping a page would look at: the walk ends with its last page table entry.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def mapped_by(self, page_id: SupportsIndex, /) -> list[Process]:
        """Return the processes that map a page, by birth: what a walk ought to find, from all page tables.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page_id` is negative.
        """
    def counts(self) -> dict[str, int]:
        """Return what there is, and what was ever made or done, by name.

        `processes`, `vmas`, `anon_vmas`, `chains` (chain entries) and `pages` that there are; each with
        `_total`, how many were ever made; `copies`, pages that were copied on write; `visits`, VMAs that
        `swap_out` looked at. The difference of two is what the operations between them cost.
        """
    def check(self) -> list[Broken]:
        """Return the invariants that do not hold, those of pages first; empty for a design that works.

        Raises:
            MemoryError: There is not enough to look at everything.
        """
    def graph(self) -> dict[str, list[dict[str, Any]]]:
        """Return the whole state as dicts and lists, for drawing and for other tools.

        `processes`: pid, parent (the pid of who forked it, or 0). `vmas`: id, process (a pid), start, stop,
        index (of its first page), prot, shared, accounted, dontfork, wipeonfork, anon_vma (an id or None),
        chain (ids of anon_vmas). `anon_vmas`: id, root, parent, children, active, references, members (ids
        of VMAs in the order of a walk). `pages`: id, index, mapping (id of an anon_vma or None), dangling,
        shared, mapped_by, swapped_by (pids).

        Raises:
            MemoryError: There is not enough for all of it.
        """
    def draw(self, page: SupportsIndex | None = None) -> Drawing:
        """Draw the whole state as SVG: a grid of VMAs and anon_vmas, with a dot for each chain entry.

        Args:
            page: The id of a page: its walk is drawn, numbered in the order of a full walk.

        Returns:
            The picture. The same state gives the same one.

        Raises:
            TypeError: `page` is no integer.
            LookupError: There is no such page any more.
            ValueError: `page` is negative, or the family is too large for one picture: more than 32
                processes, 48 VMAs, 48 anon_vmas or, without `page`, 24 pages.
            RuntimeError: Other threads never left the machine alone for long enough.
        """
    def _repr_svg_(self) -> str | None:
        """Return what Jupyter shows: None for a family that is too large for one picture."""

@final
class Process:
    """A process of a machine: what `Machine.spawn` and `Process.fork` make.

    Pages are named by their address, counted in pages; what is there, by a page id. Once the process has
    exited, every use of it but `pid`, `alive` and `machine` raises ValueError.
    """

    @property
    def pid(self) -> int:
        """Its number: 1 for a machine's first process, and never given again."""
    @property
    def machine(self) -> Machine:
        """The machine it lives or lived in."""
    @property
    def alive(self) -> bool:
        """Whether it has not exited."""
    def mmap(
        self,
        pages: SupportsIndex,
        *,
        prot: str = "rw",
        shared: bool = False,
        at: SupportsIndex | None = None,
    ) -> Vma:
        """Map pages, none of which is there until it is touched.

        Args:
            pages: How many.
            prot: What may be done with them: letters of "rwx", or "" for nothing.
            shared: Whether the process and its children see each other's writes.
            at: The first page address; without one, the mapping keeps a page away from every other.

        Returns:
            The VMA. It can be a neighbour that has grown.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The process has exited, a page of the range is mapped already, or it is no range.
            MemoryError: No hole is large enough, or there is no memory for what the mapping is made of.
        """
    def munmap(self, page: SupportsIndex, pages: SupportsIndex) -> None:
        """Unmap whatever there is in a range.

        Raises:
            TypeError: An argument is no integer.
            ValueError: The process has exited, or it is no range.
        """
    def mremap(
        self, page: SupportsIndex, pages: SupportsIndex, to: SupportsIndex, *, dontunmap: bool = False
    ) -> Vma:
        """Move pages to other addresses. They keep their index, by which a walk finds them.

        Args:
            page: The first page address, of the range as it is.
            pages: How many, all of one VMA.
            to: The first page address that they get. Whatever is mapped there is unmapped.
            dontunmap: Whether the range stays mapped, without its pages (MREMAP_DONTUNMAP).

        Returns:
            The VMA that has the pages now. It can be a neighbour that has grown.

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; nothing has changed then.
            ValueError: The process has exited, it is no range, it is of several VMAs, or both ranges overlap.
            MemoryError: There is no memory for what the moved range is made of.
        """
    def mprotect(self, page: SupportsIndex, pages: SupportsIndex, prot: str) -> None:
        """Change what may be done with a range, all of which must be mapped.

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; nothing has changed then.
            ValueError: The process has exited, it is no range, or `prot` is unknown.
        """
    def madvise(self, page: SupportsIndex, pages: SupportsIndex, advice: str) -> None:
        """Say what a fork is to do with a range, all of which must be mapped.

        Args:
            page: The first page address.
            pages: How many.
            advice: "dontfork" (a child does not get it), "wipeonfork" (a child gets it empty; private
                mappings only), or what undoes them, "dofork" and "keeponfork".

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; nothing has changed then.
            ValueError: The process has exited, it is no range, a shared mapping is to be wiped, or `advice`
                is unknown.
        """
    def write(self, page: SupportsIndex, /) -> int:
        """Write a page. One that others may see is copied first.

        Returns:
            The id of the page that is there now.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            PermissionError: It may not be written.
            ValueError: The process has exited, or `page` is negative.
        """
    def read(self, page: SupportsIndex, /) -> int | None:
        """Read a page.

        Returns:
            The id of the page that is there now, or None for the page of zeros that stands for all that was
            never written.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            PermissionError: It may not be read.
            ValueError: The process has exited, or `page` is negative.
        """
    def page(self, page: SupportsIndex, /) -> int | None:
        """Return the id of the page at an address, in memory or in swap, without touching it; None if none.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            ValueError: The process has exited, or `page` is negative.
        """
    @overload
    def fork(self, n: None = None, /) -> Process:
        """Fork: return the child, or with a number so many children, one after the other, in a list.

        Raises:
            TypeError: `n` is no integer.
            ValueError: The process has exited, or `n` is negative.
            MemoryError: There would be more processes than Linux numbers, 4,194,304, or there is no memory
                for them; none is forked then.
        """
    @overload
    def fork(self, n: SupportsIndex, /) -> list[Process]: ...
    def exit(self) -> None:
        """End the process: its page table, then its VMAs.

        Raises:
            ValueError: It has exited already.
        """
    def vmas(self) -> list[Vma]:
        """Return its VMAs, by address.

        Raises:
            ValueError: The process has exited.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Vma:
    """A range of pages of one process that are alike. Its attributes say what it is like now.

    Once it is unmapped or merged into a neighbour, or its process has exited, they raise ValueError.
    """

    @property
    def id(self) -> int:
        """Its id, as in `Machine.graph`."""
    @property
    def process(self) -> Process:
        """The process it is or was of."""
    @property
    def start(self) -> int:
        """Its first page address."""
    @property
    def stop(self) -> int:
        """The page address behind its last."""
    @property
    def pages(self) -> int:
        """How many pages it has."""
    @property
    def index(self) -> int:
        """The index of its first page: that address, until `mremap` moves a VMA that has pages."""
    @property
    def prot(self) -> str:
        """What may be done with them: letters of "rwx"."""
    @property
    def shared(self) -> bool:
        """Whether children share its writes."""
    @property
    def anon_vma(self) -> int | None:
        """The id of its own anon_vma, or None before the first write."""
    @property
    def chain(self) -> tuple[int, ...]:
        """The ids of the anon_vmas of its chain: newest first where copies keep the order."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Broken:
    """One invariant that does not hold; `str` of it says all."""

    @property
    def invariant(self) -> int:
        """Its number, from 1 to 6."""
    @property
    def page(self) -> int | None:
        """The id of the page it is about, or None."""
    @property
    def process(self) -> Process | None:
        """The process it is about, or None."""
    @property
    def reason(self) -> str:
        """What is wrong, in words that name the objects."""
