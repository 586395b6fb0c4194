"""What a process of dask has of a block or list if it has no memgroup.

Dask waits forever for what a worker cannot load. So what may travel through dask is loaded by the source of
this module, which travels with it: it imports memgroup, or returns a `NeedsMemgroup`. So nothing here is
imported from memgroup.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pickle import PickleBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Never, SupportsIndex, TypeAlias

    _Argument: TypeAlias = "memoryview[int] | bytes | bytearray | int | Loader | tuple[_Argument, ...]"

LOADERS = "memgroup._pickle"

_EXPRESSION = (
    f"getattr(__import__('sys').modules.get({LOADERS!r}), name, None)"
    " or exec(source, space) or space['Loader'](source, name)"
)


class Loader:
    """A function that loads blocks or lists. It can be sent to a process without memgroup."""

    def __init__(self, source: str, name: str) -> None:
        """Name a function of `memgroup._pickle`. The source is that of this module."""
        self._source = source
        self._name = name

    def __call__(self, *arguments: _Argument) -> object:
        """Call the function, if it is there."""
        try:
            loaders = import_module(LOADERS)
        except ModuleNotFoundError:
            if "distributed" not in sys.modules:
                raise
            return NeedsMemgroup(self, arguments)
        return getattr(loaders, self._name)(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the source, which is run only where `memgroup._pickle` is not imported yet."""
        return eval, (_EXPRESSION, {"source": self._source, "space": {}, "name": self._name})


class NeedsMemgroup:
    """A block or list in a process without memgroup. It can be sent on; every other use is an error."""

    def __init__(self, load: Loader, arguments: tuple[_Argument, ...]) -> None:
        """Keep what the block or list can be loaded from."""
        self._load = load
        self._arguments = arguments

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Pickle what was sent."""
        return self._load, _sent(self._arguments, PickleBuffer if int(protocol) >= 5 else bytes)

    def __repr__(self) -> str:
        """Say what is missing."""
        return "<a block or list of memgroup, which is not installed here>"

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Never:
        """Raise an error; the usual one, if it is a question that any object is asked."""
        if name.startswith("__"):
            raise AttributeError(name)
        self._fail()

    def _fail(self, *_: object) -> Never:
        raise ModuleNotFoundError(
            "No module named 'memgroup': a block or list was sent to this process, which has no memgroup. "
            "pip install it on every worker, and for the client",
            name="memgroup",
        )

    __len__ = __iter__ = __getitem__ = __setitem__ = __contains__ = __bool__ = __bytes__ = __index__ = _fail
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __buffer__ = __array__ = _fail


def _sent(arguments: tuple[_Argument, ...], buffer: Callable[[memoryview], object]) -> tuple[object, ...]:
    """The same with buffers that pickle takes."""

    def sent(argument: _Argument) -> object:
        if isinstance(argument, memoryview):
            return buffer(argument)
        return _sent(argument, buffer) if isinstance(argument, tuple) else argument

    return tuple(map(sent, arguments))
