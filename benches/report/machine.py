"""Where and with what a run took place. No path of the machine is among it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

CRATES = ("criterion", "bumpalo", "bump-scope", "blink-alloc", "mimalloc", "libmimalloc-sys")
PACKAGES = ("numpy", "pyarrow", "pyperf", "psycopg", "asyncpg", "adbc-driver-postgresql")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage")


def machine() -> dict[str, str]:
    """Return the properties of the machine, by name, in display order."""
    cpu, virtual = processor()
    facts = {
        "processor": cpu + (", virtual" if virtual else ""),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.1f} GiB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "C library": " ".join(platform.libc_ver()),
    }
    for setting in ("enabled", "shmem_enabled"):
        facts[f"huge pages, {setting}"] = chosen(HUGE_PAGES / setting)
    facts["load when the run began"] = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    return facts


def processor() -> tuple[str, bool]:
    """Return the processor's name, and whether it is a virtual machine's."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown", False
    lines = [line.partition(":") for line in text.splitlines()]
    facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    return facts.get("model name", platform.machine()), "hypervisor" in facts.get("flags", "").split()


def chosen(setting: Path) -> str:
    """Return which of its values a setting has: the kernel puts that in brackets."""
    try:
        values = setting.read_text().split()
    except OSError:
        return "not offered"
    return next((value.strip("[]") for value in values if value.startswith("[")), " ".join(values))


def versions(root: Path) -> dict[str, str]:
    """Return the versions of all that takes part, by name."""
    found = {
        "memgroup": version("memgroup"),
        "rustc": first_line(["rustc", "--version"], root).removeprefix("rustc "),
    }
    found |= crates(root)
    found["Python"] = f"{platform.python_implementation()} {platform.python_version()}"
    found |= {name: version(name) for name in PACKAGES}
    return found


def crates(root: Path) -> dict[str, str]:
    """Return the versions of the crates that Rust's side uses, as cargo resolved them."""
    answer = output(["cargo", "metadata", "--format-version", "1"], root)
    if not answer:
        return {}
    packages = {package["name"]: package["version"] for package in json.loads(answer)["packages"]}
    return {name: packages[name] for name in CRATES if name in packages}


def version(package: str) -> str:
    """Return the version of a Python package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def is_stale(root: Path) -> bool:
    """Return whether the source has changed since the memgroup that Python imports was installed."""
    try:
        files = metadata.files("memgroup") or []
    except metadata.PackageNotFoundError:
        return True
    # The list of what was installed is written when it is; the files themselves may keep older dates.
    installed = next((Path(str(file.locate())) for file in files if file.name == "RECORD"), None)
    if installed is None or not installed.exists():
        return True
    return max(source.stat().st_mtime for source in (root / "src").rglob("*.rs")) > installed.stat().st_mtime


def commit(root: Path) -> str:
    """Return the commit that was measured, and whether there were changes beyond it."""
    name = first_line(["git", "rev-parse", "--short=12", "HEAD"], root)
    # Files that a run itself writes are no change.
    changes = first_line(["git", "status", "--porcelain", "--", ".", ":!BENCHMARKS.md", ":!docs/img"], root)
    return f"{name}, with uncommitted changes" if changes else name


def first_line(command: list[str], root: Path) -> str:
    """Return the first line that a command prints, or nothing."""
    return next(iter(output(command, root).splitlines()), "")


def output(command: list[str], root: Path) -> str:
    """Return the output of a command; nothing if it cannot be run or fails."""
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout if answer.returncode == 0 else ""
