"""CSV files about the nodes of a run: their speeds, or when they are on."""

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from p2pgan.distributions import number
from p2pgan.errors import ConfigError, unknown_name

NODE = "node"
"""The column of the nodes' ids."""

_NAMED = 5
"""Missing nodes that an error names."""


class Row(NamedTuple):
    """A line of a table."""

    node: str
    numbers: tuple[float, ...]
    """In the order in which the columns were asked for."""
    at: str
    """Its place, for errors."""


def read_table(path: str, columns: Sequence[str], nodes: Collection[str], key: str) -> list[Row]:
    """Reads a CSV file whose first line names its columns, in any order.

    Args:
        path: the file.
        columns: the columns of numbers, beside `node`.
        nodes: all that the run has; each must be in the file.
        key: the configuration's key that names the file.
    Returns:
        The rows in the order of the file.
    Raises:
        ConfigError: if the file cannot be read, has other columns, a line of another length, a
            value that is no number, a node that the run has not, or lacks one that it has.
    """
    rows = list(_rows(_lines(path, key), columns, nodes, f"{key}: {path}"))
    named = {row.node for row in rows}
    missing = [node for node in nodes if node not in named]
    if missing:
        shown = ", ".join(f"`{node}`" for node in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ConfigError(
            expected="a line for every node of the run",
            got=f"none for {shown}{more}",
            at=f"{key}: {path}",
        )
    return rows


def _lines(path: str, key: str) -> list[tuple[int, list[str]]]:
    """The cells of every line that is not empty, with the line's number."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, [cell.strip() for cell in line]) for line in reader if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            expected="a CSV file that can be read", got=f"{reason}", at=f"{key}: {path}"
        ) from None


def _rows(
    lines: list[tuple[int, list[str]]], columns: Sequence[str], nodes: Collection[str], at: str
) -> Iterator[Row]:
    header = lines[0][1] if lines else []
    wanted = [NODE, *columns]
    if sorted(header) != sorted(wanted):
        raise ConfigError(
            expected="a first line with the columns " + ", ".join(f"`{name}`" for name in wanted),
            got=f"`{','.join(header)}`",
            at=at,
        )
    places = [header.index(name) for name in wanted]
    for line, cells in lines[1:]:
        where = f"{at}: line {line}"
        if len(cells) != len(wanted):
            raise ConfigError(
                expected=f"{len(wanted)} values", got=f"`{','.join(cells)}`", at=where
            )
        node, *texts = (cells[place] for place in places)
        if node not in nodes:
            raise unknown_name(ConfigError, "a node of the run", node, nodes, where)
        yield Row(node, tuple(_number(text, where) for text in texts), where)


def _number(text: str, at: str) -> float:
    value = number(text)
    if value is None:
        raise ConfigError(expected="a number", got=f"`{text}`", at=at)
    return value
