"""A list as Arrow sees it."""

from typing import final

@final
class ArrowArray:
    """A list as Arrow sees it, in a type of the caller's choice.

    What takes the Arrow PyCapsule interface takes it.
    """

    @property
    def type(self) -> str:
        """The type of the array, by pyarrow's name: "binary_view", say."""
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...
