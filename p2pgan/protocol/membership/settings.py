"""What the membership of a machine is told at its birth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pgan.protocol.membership.timing import Timing
from p2pgan.protocol.messages import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipSettings:
    """Who is known, and by which times and draws others are watched."""

    members: tuple[Member, ...]
    """As known at the start, ourselves included (incarnation, since and address are then ours)."""
    timing: Timing
    order: Callable[[Sequence[str]], Sequence[str]]
    """A permutation, drawn from the seed."""
    admits: bool = True
    """Whether members with `since` above 0 that nobody knows may come."""
