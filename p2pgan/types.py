"""Words that every layer shares."""

from typing import Literal

Net = Literal["G", "D"]
"""A network of the pair: generator or discriminator."""

NETS: tuple[Net, Net] = ("G", "D")

COORDINATOR = "coordinator"
"""Id of the coordinator, in overlays and in the log."""

LEAST_WEIGHT = 2.0**-512
"""The least that a node's weight may be, where weights travel: a node that only ever sends comes
there after five hundred rounds. Quotients of any two weights are still far from float64's ends."""

MOST_WEIGHT = 2.0**40
"""The most that a vector may carry. Weights of a run add up to the number of its nodes, and one for
each that was started again, which is far less."""
