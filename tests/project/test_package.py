"""The installed package: its version, its metadata, its files."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import memgroup
import pytest

ROOT = Path(__file__).parents[2]


def manifest(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def package() -> dict[str, Any]:
    package = manifest("Cargo.toml")["package"]
    assert isinstance(package, dict)
    return package


def test_the_version_is_the_one_in_cargo_toml(package):
    assert memgroup.__version__ == metadata.version("memgroup") == package["version"]
    said = subprocess.run(
        [sys.executable, "-m", "memgroup", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"memgroup {package['version']}\n"
    # It is written down once.
    assert manifest("pyproject.toml")["project"]["dynamic"] == ["version"]
    assert not any(
        f'"{package["version"]}"' in file.read_text(encoding="utf-8")
        for file in (ROOT / "python").rglob("*.py*")
        if file.suffix in {".py", ".pyi"}
    )


def test_metadata_say_what_both_manifests_say(package):
    told = metadata.metadata("memgroup")
    assert told["Summary"] == package["description"]
    assert told["License-Expression"] == package["license"]
    assert told["Requires-Python"] == ">=3.11"
    assert sorted(Path(file).name for file in told.get_all("License-File") or ()) == [
        "LICENSE-APACHE",
        "LICENSE-MIT",
    ]
    assert told["Description-Content-Type"].startswith("text/markdown")


def test_what_type_checkers_need_is_installed():
    files = resources.files("memgroup")
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("_memgroup", "__init__.pyi").is_file()


def test_all_exported_names_exist():
    assert sorted(memgroup.__all__) == memgroup.__all__
    for name in memgroup.__all__:
        assert getattr(memgroup, name) is not None
