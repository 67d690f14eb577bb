"""Seats of nodes, as tests fill them."""

from pathlib import Path

from p2pgan.node.kept import Resumption
from p2pgan.node.seat import Seat


def seat_of(node: str, path: Path, resumption: Resumption | None = None) -> Seat:
    """A node of run `run`, which saves to `path`."""
    return Seat(node=node, run="run", checkpoint=path, boot=f"{node}-boot", resumption=resumption)
