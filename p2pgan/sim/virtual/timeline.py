"""Virtual time: what is due, in order. Nothing waits, and nobody looks at a clock."""

import heapq
import itertools
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field

Action = Callable[[], None]


@dataclass(slots=True)
class Due:
    """Something that will happen, unless it is called off."""

    at_s: float
    action: Action | None

    def call_off(self) -> None:
        """It will not happen."""
        self.action = None

    @property
    def is_off(self) -> bool:
        """Whether it was called off, or has happened."""
        return self.action is None


class Timeline:
    """A heap of what is due; what is due at one instant happens in the order in which it was set.

    Invariant: time never goes back.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.actions = 0
        """Those that have happened."""
        self._heap: list[tuple[float, int, Due]] = []
        self._numbers = itertools.count()

    def at(self, at_s: float, action: Action) -> Due:
        """Something happens at that time, or now if that is over."""
        due = Due(max(at_s, self.now), action)
        heapq.heappush(self._heap, (due.at_s, next(self._numbers), due))
        return due

    def after(self, delay_s: float, action: Action) -> Due:
        """Something happens so many seconds from now."""
        return self.at(self.now + delay_s, action)

    def step(self) -> bool:
        """Lets the next thing happen; `False` if nothing is left."""
        while self._heap:
            at_s, _, due = heapq.heappop(self._heap)
            if due.action is None:
                continue
            assert at_s >= self.now, "time went back"
            self.now = at_s
            self.actions += 1
            action, due.action = due.action, None
            action()
            return True
        return False

    @property
    def next_s(self) -> float | None:
        """When the next thing happens; `None` if nothing is left."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


@dataclass
class Timers(MutableMapping[str, float]):
    """A machine's timers, on the timeline; one that fires is no longer set.

    While they are held none fires. What comes in first when they are released may still take one
    back, as in a daemon that wakes: it reads its messages before it looks at its timers.
    """

    timeline: Timeline
    fire: Callable[[str], None]
    """Told the name of a timer whose time has come."""
    is_held: bool = False
    _set: dict[str, Due] = field(default_factory=dict)
    _over: list[str] = field(default_factory=list)
    """Those whose time has come while they were held."""

    def __setitem__(self, name: str, at_s: float) -> None:
        self.pop(name, None)
        self._set[name] = self.timeline.at(at_s, lambda: self._fire(name))

    def __getitem__(self, name: str) -> float:
        return self._set[name].at_s

    def __delitem__(self, name: str) -> None:
        self._set.pop(name).call_off()
        if name in self._over:
            self._over.remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._set)

    def __len__(self) -> int:
        return len(self._set)

    def release(self) -> None:
        """They are held no more; those whose time has come fire, in its order."""
        self.is_held = False
        while self._over and not self.is_held:
            self._fire(self._over[0])

    def _fire(self, name: str) -> None:
        if self.is_held:
            self._over.append(name)
            return
        del self[name]
        self.fire(name)
