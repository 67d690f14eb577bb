"""How connections of nodes behave: what daemons ask of ZeroMQ, and virtual time imitates."""

from typing import Final

HIGH_WATER_MARK: Final = 64
"""Messages that wait on a connection in one direction, beyond a node's own queue: times 256 KiB,
16 MiB."""

HEARTBEAT_MS: Final = 2_000
HEARTBEAT_TIMEOUT_MS: Final = 15_000
"""A silent connection is cut after so long. Shorter ones were seen to cut slow links in the middle
of a frame; 15 s let 256 KiB through at 20 KB/s."""

RECONNECT_MS: Final = 100
RECONNECT_MAX_MS: Final = 5_000
"""Attempts back off from the first to the second: nobody knocks at a dead peer's door for ever ten
times a second."""
