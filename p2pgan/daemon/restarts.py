"""Whether a node that has failed is started again, and when."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

from p2pgan.ranges import check_least

WINDOW_S: Final = 60.0
"""Restarts are counted over so long: what runs for a minute has not failed at once."""

RESTARTS_MAX: Final = 5
"""Of a node within `WINDOW_S`, if nobody says otherwise."""

BACKOFF_S: Final = 1.0
"""Before the first restart within `WINDOW_S`; each further one waits twice as long."""

BACKOFF_MAX_S: Final = 16.0
"""With five restarts the waits are 1, 2, 4, 8 and 16 s: 31 s, so that the limit is reached."""

When = Literal["never", "on-failure"]


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """What a supervisor does with nodes that fail."""

    when: When = "never"
    most: int = RESTARTS_MAX
    """Restarts of one node within `WINDOW_S`; one more failure, and it stays down."""

    def __post_init__(self) -> None:
        check_least("--restart-max", self.most, 1)


@dataclass
class Restarts:
    """The restarts of one node."""

    policy: RestartPolicy
    count: int = 0
    """All of them."""
    _recent_s: deque[float] = field(default_factory=deque)

    def after_failure(self, now_s: float) -> float | None:
        """Takes note of a failure.

        Returns:
            When the node is to be started again; `None`: not any more.
        """
        while self._recent_s and self._recent_s[0] <= now_s - WINDOW_S:
            self._recent_s.popleft()
        if self.policy.when == "never" or len(self._recent_s) >= self.policy.most:
            return None
        wait_s = min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** len(self._recent_s))
        self._recent_s.append(now_s)
        self.count += 1
        return now_s + wait_s
