"""Words that every layer shares."""

from typing import Literal

Net = Literal["G", "D"]
"""A network of the pair: generator or discriminator."""

NETS: tuple[Net, Net] = ("G", "D")

COORDINATOR = "coordinator"
"""Id of the coordinator, in overlays and in the log."""
