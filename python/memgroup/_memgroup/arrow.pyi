"""A list as Arrow sees it."""

from typing import final

@final
class ArrowArray:
    """A list as Arrow sees it, in a type of the caller's choice.

    Any library that accepts the Arrow PyCapsule interface accepts it.
    """

    @property
    def type(self) -> str:
        """The type of the array, by pyarrow's name, as in "binary_view"."""
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
