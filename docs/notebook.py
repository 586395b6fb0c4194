"""Run the notebook again: `python docs/notebook.py` stores in tour.ipynb what its cells print and show.

With a file name, the notebook with its outputs goes there instead. No Jupyter is needed.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).with_name("tour.ipynb")

Json = dict[str, Any]


def read(path: Path = NOTEBOOK) -> Json:
    """The notebook in a file."""
    notebook: Json = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def run(notebook: Json) -> Json:
    """The notebook with the outputs of its cells, which run one after the other in an empty directory."""
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        sys.path.insert(0, "")  # as Jupyter does
        return _run(notebook)


def _run(notebook: Json) -> Json:
    names: Json = {"__name__": "__main__"}
    count = 0
    cells: list[Json] = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            outputs = _outputs("".join(cell["source"]), names, count)
            cell = {**cell, "execution_count": count, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, names: Json, count: int) -> list[Json]:
    """What a cell prints, and its last line shows if that is an expression."""
    *statements, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        statements.append(last)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(statements, []), f"cell {count}", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    outputs: list[Json] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        shown = {kind: _lines(text) for kind, text in _shown(value).items()}
        outputs.append(
            {"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": shown}
        )
    return outputs


def _shown(value: Any) -> dict[str, str]:
    """What Jupyter shows of an object, by the kind of text."""
    shown = {"text/plain": repr(value)}
    if hasattr(value, "savefig"):
        picture = io.StringIO()
        value.savefig(picture, format="svg", transparent=True, metadata={"Date": None})
        # Without the declarations of a file.
        shown["image/svg+xml"] = (
            picture.getvalue().partition("<svg")[1] + picture.getvalue().partition("<svg")[2]
        )
    elif hasattr(value, "_repr_html_") and type(value).__module__.startswith("memgroup"):
        shown["text/html"] = value._repr_html_()
    return shown


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def markdown(notebook: Json) -> str:
    """The notebook as a page of the site."""
    return "\n\n".join(part for cell in notebook["cells"] for part in _parts(cell)) + "\n"


def _parts(cell: Json) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return [source]
    return [_fence("python", source), *map(_output, cell["outputs"])]


def _output(output: Json) -> str:
    if output["output_type"] == "stream":
        return _fence("text", "".join(output["text"]))
    data = {kind: "".join(lines) for kind, lines in output["data"].items()}
    drawn = data.get("image/svg+xml") or data.get("text/html")
    # Markdown ends a block of HTML at an empty line.
    return (
        f'<div class="output">{" ".join(drawn.split())}</div>'
        if drawn
        else _fence("text", data["text/plain"])
    )


def _fence(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else NOTEBOOK)
    target.write_text(
        json.dumps(run(read()), indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )
