"""Parsing and formatting sizes, bytes and file names."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+)(?:\.(\d+))? ?([KMGTPE]?)(iB|B|)", re.IGNORECASE)
_PREFIXES = ("", "K", "M", "G", "T", "P", "E")

_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def read_size(text: str) -> int:
    """Bytes that `text` names: `4096`, `64K`, `1.5GiB`; K, M, G, T, P, E count in 1024s, KB, MB, … in 1000s.

    Raises:
        ValueError: It is not a size, or not a whole number of bytes.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {show_text(text)!r}; give bytes as in 4096, 64K or 2GiB")
    whole, fraction, prefix, unit = match.groups(default="")
    step = 1000 if prefix and unit.upper() == "B" else 1024
    scale: int = step ** _PREFIXES.index(prefix.upper())
    parts: int = 10 ** len(fraction)
    size, rest = divmod(int(whole + fraction) * scale, parts)
    if rest:
        raise ValueError(f"not a whole number of bytes: {text!r}")
    return size


def show_text(text: str) -> str:
    r"""`text` on one line and harmless to a terminal, with nothing lost.

    Line feed, carriage return and tab become `\n`, `\r` and `\t`; each byte of another unprintable or
    undecodable character becomes `\xNN`; a backslash is doubled.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_show_character, text))


def _show_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(rf"\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def show_size(nbytes: float) -> str:
    """Bytes with three digits and a unit, `31.2 MiB`; exact if that is a whole number, `64 KiB`."""
    return _scaled(nbytes, 1024, [f"{prefix}iB" if prefix else "B" for prefix in _PREFIXES])


def show_rate(per_second: float) -> str:
    """A number per second with three digits and a unit, `28.8 k/s`."""
    return _scaled(per_second, 1000, ["/s", "k/s", "M/s", "G/s", "T/s"])


def show_seconds(seconds: float) -> str:
    """A duration with three digits and a unit, `12.3 ms`."""
    return f"{_digits(seconds)} s" if seconds >= 1 else _scaled(seconds * 1e9, 1000, ["ns", "µs", "ms", "s"])


def show_share(part: float, whole: float) -> str:
    """`part` in hundredths of `whole`; 0 if `whole` is 0."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def show_number(number: int, noun: str = "", plural: str = "") -> str:
    """A whole number with commas, and the counted noun: `1 file`, `2,314 files`."""
    counted = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,} {counted}" if noun else f"{number:,}"


def _scaled(number: float, step: int, units: list[str]) -> str:
    for unit in units[:-1]:
        # A value that rounds to a whole step gets the next unit: no 1000 ms, no 1024 KiB.
        if number < step - 0.5:
            return f"{_digits(number)} {unit}"
        number /= step
    return f"{_digits(number)} {units[-1]}"


def _digits(number: float) -> str:
    if number == int(number):
        return f"{number:.0f}"
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f}"
