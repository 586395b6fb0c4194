"""Subinterpreters are refused, and the main interpreter is not affected."""

from __future__ import annotations

import sys

import pytest

PRELUDE = """
try:
    import _interpreters

    create = lambda: _interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as _interpreters

    create = lambda: _interpreters.create(isolated=False)


def run(interpreter, code):
    try:
        failure = _interpreters.run_string(interpreter, code)
    except Exception as error:
        return str(error)
    return getattr(failure, "formatted", failure)
"""

IMPORT = """
try:
    import memgroup
except ImportError as error:
    message = str(error)
    assert "subinterpreters" in message and "main interpreter" in message, message
else:
    raise SystemError("it was imported")
try:
    import memgroup
except ImportError:
    pass
else:
    raise SystemError("it was imported at the second attempt")
"""


def run(child, code: str) -> str:
    # The fixture's prelude imports memgroup, which must not come first here.
    return child.output(
        f"import subprocess\nended = subprocess.run([sys.executable, '-c', {PRELUDE + code!r}], timeout=60)\n"
        "print(ended.returncode)"
    )


@pytest.mark.parametrize("first", ["main", "sub"])
def test_a_subinterpreter_gets_an_import_error_whichever_interpreter_imports_first(child, first):
    imports = "import memgroup\n" if first == "main" else ""
    assert (
        run(
            child,
            f"{imports}import gc\nfor _ in range(2):\n"
            f"    sub = create()\n    print(run(sub, {IMPORT!r}))\n    _interpreters.destroy(sub)\n"
            "gc.collect()\n"
            """
import memgroup, pickle
group = memgroup.MemGroup()
block = group.copy(b"abc")
print(bytes(group.protect(block)), bytes(pickle.loads(pickle.dumps(block))), len(group.alloc_many([1, 2])))
try:
    group.alloc(-1)
except ValueError:
    print("ValueError")
print(run(create(), "import collections.abc"))
""",
        )
        == "None\nNone\nb'abc' b'abc' 2\nValueError\nNone\n0"
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters share the GIL")
def test_an_interpreter_with_its_own_gil_gets_an_import_error_too(child):
    code = "import memgroup"
    said = run(
        child,
        "\ntry:\n    create = lambda: _interpreters.create('isolated')\n    sub = create()\n"
        f"except TypeError:\n    sub = _interpreters.create(isolated=True)\nprint(run(sub, {code!r}))",
    )
    assert "ImportError" in said
    assert "subinterpreters" in said
