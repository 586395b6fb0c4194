"""The model of reverse mapping."""

from typing import Any, ClassVar, Self, SupportsIndex, final, overload

from memgroup.display.rmap.drawing import Drawing

@final
class Machine:
    """Processes that fork, and one design of reverse mapping, which finds the processes that map a page.

    Args:
        policy: The design: one of `POLICIES`, or "running" for that of the running kernel; by default the
            newest.
        kernel: The version of a kernel whose design and rules to follow, as in "6.18.44", instead of a
            policy.
        clone_order: How forks copy chains, "keeps" or "reverses"; by default as the design does.

    Raises:
        TypeError: An argument is no str.
        ValueError: An argument has no such value, or both a policy and a kernel are given.
        RuntimeError: In a child that was forked while another thread changed the machine, every use raises
            it.
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
        """Return a new process without mappings and without a parent.

        Raises:
            MemoryError: There are as many processes as Linux numbers, 4,194,304, or there is no memory for
                more.
        """
    def processes(self) -> list[Process]:
        """Return the live processes, oldest first."""
    def pages(self) -> list[int]:
        """Return the ids of the pages that a process maps or has in swap, or that a shared mapping holds."""
    def swap_out(self, page_id: SupportsIndex, /) -> bool:
        """Swap a page out: the walk removes the page table entries that it finds.

        Returns:
            Whether it found all of them, so that the page left memory. It does in every correct design.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page.
            ValueError: The page is in no page table, or `page_id` is negative.
        """
    def walk(self, page_id: SupportsIndex, /) -> list[tuple[Process, Vma]]:
        """Return the places where a page can be mapped, as (process, VMA), in the order of a full walk.

        Their ranges contain the page's address, but they need not map the page. The list is empty while no
        process maps the page, as after `swap_out` until a process accesses it; a page of a shared mapping is
        found nevertheless, by the mapping, in every design but "scan24". It is also empty if a broken design
        cannot find the page.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page.
            ValueError: `page_id` is negative.
        """
    def walk_visits(self, page_id: SupportsIndex, /) -> int:
        """Return how many VMAs a full walk visits: those of `walk`, and in designs with a list also others.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page.
            ValueError: `page_id` is negative.
        """
    def unmap_visits(self, page_id: SupportsIndex, /) -> int:
        """Return how many VMAs unmapping a page would visit: the walk ends with the last page table entry.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page.
            ValueError: `page_id` is negative.
        """
    def mapped_by(self, page_id: SupportsIndex, /) -> list[Process]:
        """Return the processes that map a page, oldest first, from all page tables: a walk should find them.

        Raises:
            TypeError: `page_id` is no integer.
            LookupError: There is no such page.
            ValueError: `page_id` is negative.
        """
    def counts(self) -> dict[str, int]:
        """Return the numbers of existing objects, and of objects and operations in all, by name.

        `processes`, `vmas`, `anon_vmas`, `chains` (chain entries) and `pages` that exist; each with `_total`,
        how many were ever made; `copies`, pages that were copied on write; `visits`, VMAs that `swap_out`
        visited. The difference between two calls is the cost of the operations in between.
        """
    def check(self) -> list[Broken]:
        """Return the broken invariants, those of pages first; none in a correct design.

        Raises:
            MemoryError: There is too little memory to check everything.
        """
    def graph(self) -> dict[str, list[dict[str, Any]]]:
        """Return the whole state as dicts and lists, for drawing and for other tools.

        `processes`: pid, parent (the pid of its parent, or 0). `vmas`: id, process (a pid), start, stop,
        index (of its first page), prot, shared, accounted, dontfork, wipeonfork, anon_vma (an id or None),
        chain (ids of anon_vmas). `anon_vmas`: id, root, parent, children, active, references, members (ids of
        VMAs in the order of a walk). `pages`: id, index, mapping (id of an anon_vma or None), dangling,
        shared, mapped_by, swapped_by (pids).

        Raises:
            MemoryError: There is too little memory for the whole state.
        """
    def draw(self, page: SupportsIndex | None = None) -> Drawing:
        """Draw the whole state as SVG: a grid of VMAs and anon_vmas, with a dot for each chain entry.

        Args:
            page: The id of a page: its walk is drawn, numbered in the order of a full walk.

        Returns:
            The picture; the same for the same state.

        Raises:
            TypeError: `page` is no integer.
            LookupError: There is no such page.
            ValueError: `page` is negative, or the family is too large for one picture: more than 32
                processes, 48 VMAs, 48 anon_vmas or, without `page`, 24 pages.
            RuntimeError: Other threads changed the machine during every attempt.
        """
    def _repr_svg_(self) -> str | None:
        """Return the picture for Jupyter, or None for a family that is too large for one."""

@final
class Process:
    """A process of a machine: what `Machine.spawn` and `Process.fork` make.

    Addresses are counted in pages. Every page in memory or swap has an id. Once the process has exited, every
    use of it but `pid`, `alive` and `machine` raises ValueError.
    """

    @property
    def pid(self) -> int:
        """Its number: 1 for a machine's first process; never reused."""
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
        """Map pages, without memory until they are accessed.

        Args:
            pages: How many.
            prot: Their permissions: letters of "rwx", or "" for none.
            shared: Whether the process and its children see each other's writes.
            at: The first page address; by default, at least one page away from every other mapping.

        Returns:
            The VMA. It can be a neighbour that has grown.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: The process has exited, a page of the range is mapped already, or the range is
                invalid.
            MemoryError: No free range is large enough, or there is no memory for the model.
        """
    def munmap(self, page: SupportsIndex, pages: SupportsIndex) -> None:
        """Unmap all pages in a range.

        Raises:
            TypeError: An argument is no integer.
            ValueError: The process has exited, or the range is invalid.
        """
    def mremap(
        self, page: SupportsIndex, pages: SupportsIndex, to: SupportsIndex, *, dontunmap: bool = False
    ) -> Vma:
        """Move pages to other addresses. They keep their index, by which a walk finds them.

        Args:
            page: The first page address of the range.
            pages: How many, all of one VMA.
            to: The new first page address. Pages that are mapped there are unmapped.
            dontunmap: Whether the range stays mapped, without its pages (MREMAP_DONTUNMAP).

        Returns:
            The VMA that has the pages now. It can be a neighbour that has grown.

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; then nothing has changed.
            ValueError: The process has exited, the range is invalid or has several VMAs, or both ranges
                overlap.
            MemoryError: There is no memory for the model.
        """
    def mprotect(self, page: SupportsIndex, pages: SupportsIndex, prot: str) -> None:
        """Change the permissions of a range, all of which must be mapped.

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; then nothing has changed.
            ValueError: The process has exited, the range is invalid, or `prot` is unknown.
        """
    def madvise(self, page: SupportsIndex, pages: SupportsIndex, advice: str) -> None:
        """Set what a fork does with a range, all of which must be mapped.

        Args:
            page: The first page address.
            pages: How many.
            advice: "dontfork" (a child does not inherit it), "wipeonfork" (a child inherits it empty; private
                mappings only), or "dofork" and "keeponfork", which undo these.

        Raises:
            TypeError: An argument is of the wrong type.
            LookupError: A page of the range is not mapped; then nothing has changed.
            ValueError: The process has exited, the range is invalid, "wipeonfork" is for a shared mapping, or
                `advice` is unknown.
        """
    def write(self, page: SupportsIndex, /) -> int:
        """Write to a page. A page that other processes may see is copied first.

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
            The id of the page that is there now, or None for the page of zeros, where nothing was written.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            PermissionError: It may not be read.
            ValueError: The process has exited, or `page` is negative.
        """
    def page(self, page: SupportsIndex, /) -> int | None:
        """Return the id of the page at an address, in memory or in swap, or None; access nothing.

        Raises:
            TypeError: `page` is no integer.
            LookupError: The page is not mapped.
            ValueError: The process has exited, or `page` is negative.
        """
    @overload
    def fork(self, n: None = None, /) -> Process:
        """Fork and return the child; with a number, fork so many children and return them in a list.

        Raises:
            TypeError: `n` is no integer.
            ValueError: The process has exited, or `n` is negative.
            MemoryError: There would be more processes than Linux numbers, 4,194,304, or there is no memory
                for them; then none is forked.
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
    """A range of pages of one process with the same permissions. Its attributes show its current state.

    Once it is unmapped or merged into a neighbour, or its process has exited, they raise ValueError.
    """

    @property
    def id(self) -> int:
        """Its id, as in `Machine.graph`."""
    @property
    def process(self) -> Process:
        """The process that it belongs or belonged to."""
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
        """The index of its first page: its address, unless `mremap` has moved a VMA with pages."""
    @property
    def prot(self) -> str:
        """Their permissions: letters of "rwx"."""
    @property
    def shared(self) -> bool:
        """Whether children see its writes, and it theirs."""
    @property
    def anon_vma(self) -> int | None:
        """The id of its own anon_vma, or None before the first write."""
    @property
    def chain(self) -> tuple[int, ...]:
        """The ids of the anon_vmas of its chain, newest first if copies keep the order."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Broken:
    """A broken invariant; its `str` has all attributes."""

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
        """A description that names the objects."""
