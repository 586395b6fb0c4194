"""`memgroup gather --out`: a table of the lines that match, or of all files, written batch by batch."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from memgroup import gather
from memgroup._memgroup import TreeWalk, search_rows
from memgroup.cli.arguments import refuse
from memgroup.cli.gather.groups import LineGroups
from memgroup.cli.gather.search import row_style, syntax
from memgroup.cli.output import complain
from memgroup.cli.status import COMPLETE, FOUND, NOT_FOUND, UNUSABLE
from memgroup.display.text import show_text
from memgroup.engines.engine import EngineError

# Optional, and without types.
pa: Any = import_module("pyarrow")
ipc: Any = import_module("pyarrow.ipc")

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Sequence

    from memgroup.engines.searching import Figures

# A batch of files, its table and what the file format makes of it are in memory at once.
_SHARE = 4


def write_matches(options: argparse.Namespace) -> int:
    """Write a row for each line that matches; return the exit status, which is grep's."""
    try:
        with _table(options, ("path", "path_bytes", "offset", "line", "bytes")) as table:
            lines = LineGroups(table.add)
            (_, _, matches, _, _), problems = _search(options, lines.add)
            lines.finish()
    except (ValueError, MemoryError, EngineError) as error:
        refuse("gather", str(error))
    for path, reason in problems:
        _complain(os.fsdecode(path), reason)
    if problems:
        return UNUSABLE
    return FOUND if matches else NOT_FOUND


def _search(
    options: argparse.Namespace, receive: Callable[..., None]
) -> tuple[Figures, list[tuple[bytes, str]]]:
    if options.on is not None:
        from memgroup.cli.gather.spread import rows_on_workers

        return rows_on_workers(options, receive)
    return search_rows(
        [os.fsencode(path) for path in options.paths],
        [os.fsencode(text) for text in options.find],
        [*syntax(options)],
        row_style(options),
        options.memory,
        options.threads,
        receive,
    )


def write_files(options: argparse.Namespace) -> int:
    """Write a row for each file, or for each piece of one that is larger than the memory for it."""
    complete = True
    memory = max(options.memory // _SHARE, 256 * 1024)
    batches = gather(options.paths or ["."], ignore=options.ignore, memory=memory, client=options.on)
    try:
        with _table(options, ("path", "path_bytes", "offset", "bytes")) as table, closing(batches):
            for batch in batches:
                table.add_files(batch[0], batch.offsets, pa.array(batch[1].as_arrow("large_binary")))
                for path, error in batch.errors.items():
                    _complain(path, getattr(error, "strerror", None) or str(error))
                    complete = False
    except EngineError as error:
        refuse("gather", str(error))
    return COMPLETE if complete else UNUSABLE


def _complain(path: str, reason: str) -> None:
    complain(f"memgroup: {show_text(path)}: {reason}")


_TYPES: dict[str, Any] = {
    "path": pa.dictionary(pa.int32(), pa.string()),
    "path_bytes": pa.binary(),
    "offset": pa.int64(),
    "line": pa.int64(),
    "bytes": pa.large_binary(),
}


@contextmanager
def _table(options: argparse.Namespace, columns: Sequence[str]) -> Generator[_Table]:
    """A table in a file that takes the place of `--out` when it is complete."""
    out: str = options.out
    known: list[bytes] | None = None
    schema: Any = pa.schema([(name, _TYPES[name]) for name in columns])
    partial = f"{out}.part"
    try:
        if out.endswith(".parquet"):
            # Bytes are seldom the same twice, and a dictionary of them would be held in memory.
            parquet: Any = import_module("pyarrow.parquet")
            writer = parquet.ParquetWriter(partial, schema, use_dictionary=["path"])
        else:
            known = _all_paths(options)
            deltas = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
            writer = ipc.new_file(partial, schema, options=deltas)
    except OSError as error:
        refuse("gather", f"--out {show_text(out)}: {error.strerror or error}")
    try:
        with writer:
            yield _Table(writer, schema, known)
        os.replace(partial, out)
    except BaseException:
        os.unlink(partial)
        raise


def _all_paths(options: argparse.Namespace) -> list[bytes]:
    """The paths of all files. In an Arrow file one dictionary holds for all rows, and comes first."""
    paths = TreeWalk([os.fsencode(path) for path in options.paths], options.ignore)
    return [path for some in paths for path in some]


class _Table:
    """Rows on their way to a file."""

    def __init__(self, writer: Any, schema: Any, known: Sequence[bytes] | None) -> None:
        """Write rows of known paths, or each batch with a dictionary of its own."""
        self._writer = writer
        self._schema = schema
        self._has_one_dictionary = known is not None
        self._numbers = {path: number for number, path in enumerate(known or ())}
        self._dictionary = _text(known or ())

    def add_files(self, paths: list[str], offsets: list[int], contents: Any) -> None:
        """Add files."""
        indices = pa.array(range(len(paths)), pa.int32())
        self.add(list(map(os.fsencode, paths)), indices, pa.array(offsets, pa.int64()), contents)

    def add(self, paths: list[bytes], indices: Any, *columns: Any) -> None:
        """Add rows; `indices` are those of their paths in `paths`."""
        if not len(indices):
            return
        text = _text(paths)
        inexact = [
            None if shown.encode() == path else path
            for shown, path in zip(text.to_pylist(), paths, strict=True)
        ]
        raw = pa.array(inexact, pa.binary()).take(indices)
        if self._has_one_dictionary:
            self._learn(paths)
            indices = pa.array([self._numbers[path] for path in paths], pa.int32()).take(indices)
            text = self._dictionary
        path = pa.DictionaryArray.from_arrays(indices, text)
        self._writer.write_batch(pa.record_batch([path, raw, *columns], schema=self._schema))

    def _learn(self, paths: list[bytes]) -> None:
        """Extend the dictionary by files that have come since."""
        new = [path for path in paths if path not in self._numbers]
        if new:
            self._numbers.update({path: len(self._dictionary) + number for number, path in enumerate(new)})
            self._dictionary = pa.concat_arrays([self._dictionary, _text(new)])


def _text(paths: Sequence[bytes]) -> Any:
    return pa.array([path.decode("utf-8", "replace") for path in paths], pa.string())
