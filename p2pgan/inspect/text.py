"""How names and numbers are put for a reader's eye."""

import re


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which `n2` comes before `n10`."""
    return [
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part)
        for part in re.split(r"([0-9]+)", name)
    ]


def bytes_text(size_bytes: float) -> str:
    """A size in the unit that leaves one to three digits before the point; a kB has 1000 B."""
    for unit in ("B", "kB", "MB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def count_text(count: int, noun: str) -> str:
    """A number of things, such as `1 node` or `2 nodes`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def number_text(value: float | None) -> str:
    """Four digits, or a dash for a number that is missing or not finite."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return "-"
    return f"{value:.4g}"


def printable(text: str) -> str:
    """The text with control characters escaped: peers choose some of it, terminals obey it."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape", "replace").decode()
        for mark in text
    )
