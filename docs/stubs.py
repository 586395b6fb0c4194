"""How the site reads the stubs: what Python calls `__new__`, and functions that have overloads only.

Extensions of griffe, which reads sources for mkdocstrings; mkdocs.yml names this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    import ast


class Stubs(griffe.Extension):
    """Show of a class how it is called, and of overloads that no function follows their common docstring."""

    def on_class_members(self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **_: Any) -> None:
        """Complete a class that has just been read."""
        if "__new__" in cls.members and "__init__" not in cls.members:
            made = cls.members.pop("__new__")
            made.name = "__init__"
            cls.members["__init__"] = made
        for name, overloads in cls.overloads.items():
            if name not in cls.members and overloads:
                documented = next((one for one in overloads if one.docstring), overloads[0])
                function = griffe.Function(
                    name,
                    lineno=documented.lineno,
                    parameters=documented.parameters,
                    returns=documented.returns,
                    docstring=documented.docstring,
                    runtime=False,
                )
                function.overloads = overloads
                cls.set_member(name, function)
        by_line = sorted(cls.members.items(), key=lambda item: item[1].lineno or 0)
        cls.members = dict(by_line)
