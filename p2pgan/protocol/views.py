"""The overlay as a machine sees it: computed by whoever knows graphs, and handed in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from p2pgan.protocol.membership.settings import MembershipSettings
from p2pgan.protocol.messages import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The overlay as it is now."""

    neighbors: Mapping[str, Collection[str]]
    """Of every member that is there."""
    edges: int
    spectral_gap: float | None = None
    """`None`: too many members to compute it in passing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a machine is told of the others."""

    membership: MembershipSettings
    overlay_of: Callable[[Sequence[Member]], View]
    """The overlay of these members, those that are gone among them."""
    charter: Callable[[Sequence[Member]], bytes] = lambda members: b""
    """What is told of the run to whoever asks (`protocol.charter`); empty: nobody is told."""
    is_new: bool = False
    """Whether we have just come to a run that is under way, and have nothing to go on from."""
