"""How fast members find out who is there, against how much they say to do so."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from p2pgan.errors import LocalProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times of probes, suspicion and rumors."""

    probe_s: float
    """Between two probes that a node sends; more: fewer messages, later detection."""
    timeout_s: float
    """That an answer may take, at least; more: fewer suspicions, later detection."""
    helpers: int = 3
    """Members that are asked to probe who has not answered; more: fewer suspicions, more messages.
    """
    suspicion: float
    """A suspect has at least `suspicion * max(1, log10(members)) * probe_s` to refute; more: fewer
    false deaths, later detection."""
    rumor_s: float
    """Between two messages with news alone; more: fewer messages, later news."""

    def __post_init__(self) -> None:
        times = (self.probe_s, self.timeout_s, self.suspicion, self.rumor_s)
        if min(times) <= 0 or self.helpers < 0:
            raise LocalProtocolError(
                expected="times above 0 and no fewer than 0 helpers",
                got=f"{times} and {self.helpers} helpers",
                at="timing of the membership",
            )


PRESETS: Final[Mapping[str, Timing]] = MappingProxyType(
    {
        "local": Timing(probe_s=1.0, timeout_s=0.5, suspicion=3.0, rumor_s=0.1),
        "lan": Timing(probe_s=1.0, timeout_s=0.5, suspicion=4.0, rumor_s=0.2),
        "wan": Timing(probe_s=5.0, timeout_s=3.0, suspicion=6.0, rumor_s=0.5),
    }
)
"""As memberlist has them (`config.go`: `DefaultLocalConfig`, `DefaultLANConfig`,
`DefaultWANConfig`; 3 indirect checks). `local` gives an answer 0.5 s where memberlist gives it
0.2 s: trainers of one machine share its processors."""
