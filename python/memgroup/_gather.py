"""Working through trees of files in bounded memory: `memgroup.gather`."""

from __future__ import annotations

import os

from memgroup._files import Reader, matching
from memgroup._memgroup import Pattern, TreeWalk

# Modules that only some programs need are imported on first use, because importing memgroup has to be fast.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from os import PathLike

    from memgroup._files import Batch

    _Path = str | bytes | PathLike[str] | PathLike[bytes]

# Fewer bytes are not worth a batch; a search in threads needs as many for each.
_LEAST = 256 * 1024


def gather(
    paths: _Path | Iterable[_Path] = ".",
    *,
    find: str | bytes | Iterable[str | bytes] | None = None,
    ignore_case: bool = False,
    regex: bool = False,
    ignore: bool = False,
    memory: int = 256 * 1024 * 1024,
    client: object = None,
) -> Generator[Batch]:
    """Read all files below some paths in batches; each batch reuses the memory of the one before.

    Files come in the order of their names. Below a directory, symlinks, fifos, sockets and devices are
    skipped. The blocks of a batch are freed when you ask for the next; memory that a view still uses stays
    valid until the view is gone, and later batches get other memory.

    Args:
        paths: Files and directories.
        find: A text, or several: only files in which one occurs are returned.
        ignore_case: Whether to ignore the case of letters.
        regex: Whether `find` is a regular expression of Rust's regex crate, matched line by line.
        ignore: Whether to skip .git and the paths that the files .gitignore name.
        memory: The most bytes of a batch. A larger file comes in pieces, in batches of their own. A piece
            ends after a line feed, if there is one in its last 64 KiB.
        client: The workers that read the files: those of a dask.distributed.Client, of Ray (the module `ray`,
            if connected), or of an address: "dask://HOST:PORT" (a scheduler), "ray://HOST:PORT" (a client
            server), or "local" for processes of this machine. By default this process reads them. Workers
            need the files at the same paths. Batches come in the same order, and stay valid as long as they
            are used.

    Returns:
        A generator of pairs: a list of paths, and a MemList of the contents of these files. A pair also has
            `offsets` and `errors`, with the errors of files that cannot be read.

    Raises:
        ValueError: `memory` is less than 256 KiB, `find` is no valid regular expression, or `client` is no
            client.
        memgroup.engines.engine.EngineError: Workers cannot be reached, or lack memgroup or the files.
    """
    if memory < _LEAST:
        raise ValueError(f"memory must be {_LEAST} bytes or more, not {memory}")
    roots = [
        os.fsencode(path) for path in ([paths] if isinstance(paths, (str, bytes, os.PathLike)) else paths)
    ]
    texts = None
    if find is not None:
        texts = [os.fsencode(text) for text in ([find] if isinstance(find, (str, bytes)) else find)]
    syntax = [*(["regex"] if regex else []), *(["ignore-case"] if ignore_case else [])]
    pattern = None if texts is None else Pattern(texts, syntax)
    walk = TreeWalk(roots, ignore)
    if client is None:
        return _read(Reader(walk, memory), pattern)
    from memgroup.engines.reading import read_on_workers

    return read_on_workers(client, walk, memory, texts, syntax)


def _read(reader: Reader, pattern: Pattern | None) -> Generator[Batch]:
    with reader:
        yield from matching(reader, pattern)
