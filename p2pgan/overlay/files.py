"""Overlays in files: which suffix is which format, reading, writing, and the ready ones."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pgan.errors import OverlayError, unknown_name
from p2pgan.files import write_atomic
from p2pgan.overlay import dot, edgelist, nodelink, xml
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.nodelink import to_node_link
from p2pgan.overlay.parts import Parts, assemble

__all__ = [
    "FORMATS",
    "Format",
    "from_node_link",
    "read",
    "ready",
    "render",
    "to_node_link",
    "write",
]

FILE_BYTES_MAX = 64 * 1024 * 1024
"""Larger files are refused unread: a complete overlay of 1,000 nodes takes some 20 MB."""


@dataclass(frozen=True)
class Format:
    """A file format; `parse` is `None` for those that are only written."""

    suffixes: tuple[str, ...]
    render: Callable[[Overlay], bytes]
    parse: Callable[[bytes, str], Parts] | None


FORMATS: Mapping[str, Format] = {
    "json": Format((".json",), nodelink.render, nodelink.parse),
    "graphml": Format((".graphml",), xml.render_graphml, xml.parse_graphml),
    "gexf": Format((".gexf",), xml.render_gexf, xml.parse_gexf),
    "edges": Format((".edges", ".edgelist", ".txt"), edgelist.render, edgelist.parse),
    "dot": Format((".dot", ".gv"), dot.render, None),
}
"""Every format by the name that `--format` takes."""


def read(path: str | os.PathLike[str]) -> Overlay:
    """Reads an overlay, in the format of the file's suffix.

    Its name is that in the file, else the file's stem.

    Raises:
        OverlayError: if the file is missing, too large, of an unknown or unreadable format,
            malformed, or no graph that can serve; it names the file and the place in it.
    """
    path = Path(path)
    parse = _format_of(path).parse
    if parse is None:
        raise OverlayError(
            expected="a format that can be read",
            got=f"`{path.suffix}`, which is only written",
            at=str(path),
            hint="keep the overlay as `.json`",
        )
    return _overlay(parse(_bytes(path), str(path)), path.stem, str(path))


def write(overlay: Overlay, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Writes an overlay; an existing file is replaced once the new one is complete.

    Args:
        overlay: what to write.
        path: where; its folder is made if it is missing.
        format: a key of `FORMATS`; `None`: that of the suffix.
    Raises:
        OverlayError: for an unknown format, an attribute or id that the format cannot hold, or a
            file that cannot be written.
    """
    path = Path(path)
    data = render(overlay, format) if format else _format_of(path).render(overlay)
    write_atomic(path, data, OverlayError)


def render(overlay: Overlay, format: str) -> bytes:
    """What `write` would write.

    Raises:
        OverlayError: as `write`.
    """
    if format not in FORMATS:
        raise unknown_name(OverlayError, "a format", format, FORMATS, "--format")
    return FORMATS[format].render(overlay)


def from_node_link(tables: object, at: str = "overlay") -> Overlay:
    """The overlay of a node-link dictionary, such as `to_node_link` and networkx give.

    Args:
        tables: what JSON holds; anything is accepted and checked.
        at: where it comes from, before `$` in errors.
    Raises:
        OverlayError: if it is malformed or no graph that can serve.
    """
    return _overlay(nodelink.parts_of(tables, at), "overlay", at)


def ready() -> dict[str, Path]:
    """The overlay files that come with p2pgan, by the name to ask for them."""
    package = Path(__file__).parents[1]
    # An installed package has them inside; a checkout beside it.
    folder = next(
        (f for f in (package / "topologies", package.parent / "topologies") if f.is_dir()), package
    )
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def is_overlay_file(spec: str) -> bool:
    """Whether a text looks like the path of an overlay, be it there or not."""
    path = Path(spec)
    return path.suffix.lower() in _by_suffix() or path.name != spec or path.is_file()


def _by_suffix() -> dict[str, Format]:
    return {suffix: form for form in FORMATS.values() for suffix in form.suffixes}


def _format_of(path: Path) -> Format:
    known = _by_suffix()
    suffix = path.suffix.lower()
    if suffix not in known:
        raise unknown_name(OverlayError, "a suffix of overlay files", suffix, known, str(path))
    return known[suffix]


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= FILE_BYTES_MAX else b""
    except OSError as error:
        raise _unusable(error, "a readable overlay file", path) from None
    if size > FILE_BYTES_MAX:
        raise OverlayError(
            expected=f"an overlay file of at most {FILE_BYTES_MAX} bytes",
            got=f"{size} bytes",
            at=str(path),
        )
    return data


def _unusable(error: OSError, expected: str, path: Path) -> OverlayError:
    return OverlayError(expected=expected, got=error.strerror or str(error), at=str(path))


def _overlay(parts: Parts, name: str, at: str) -> Overlay:
    graph = assemble(parts, at)
    given: Any = graph.graph.get("name")
    return Overlay(given if isinstance(given, str) and given else name, graph)
