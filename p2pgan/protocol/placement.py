"""Where MD-GAN's discriminators are, and what the coordinator has ordered to change that.

A part of MD-GAN's coordinator. Theory of operation. Only a worker's word counts: a discriminator is
where a worker says that it holds it. Orders are numbered, and what a worker said before it has read
the last one is stale, so whoever has an order before it counts as nowhere until it speaks. A move
that is not done in time is not waited for any more, but may still be done. An order that is given
up is taken back: both ends are released, and the discriminator is lost unless its worker says that
it still has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from p2pgan.protocol.core import Core
from p2pgan.protocol.instructions import Send
from p2pgan.protocol.messages import Assign, Expect, Move, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A discriminator that is about to be somewhere."""

    slot: int
    target: str
    mover: str = ""
    """The worker that gives it away; empty for a new one or a copy."""
    since_s: float
    is_awaited: bool
    """Whether iterations wait for it."""


class Placement:
    """Who holds which discriminator.

    Invariants: every discriminator is at one place at most, and none both there and on an errand;
    no worker is the target of two errands; who holds one is the target of none.
    """

    __slots__ = ("_core", "_number", "_read", "errands", "holding", "slots")

    def __init__(self, core: Core, slots: int) -> None:
        self._core, self.slots = core, slots
        self._number = 0
        """Of the last order."""
        self._read: dict[str, int] = {}
        """The order of each worker that its word must not be older than."""
        self.holding: dict[str, int | None] = {}
        """What each worker holds, by its last word; workers without a word that counts are left
        out."""
        self.errands: dict[int, Errand] = {}

    # -- looking -----------------------------------------------------------------------------------

    def places(self) -> dict[int, str]:
        """For each slot that is in its place the worker, in order of slots."""
        return dict(sorted((slot, w) for w, slot in self.holding.items() if slot is not None))

    def lost(self) -> list[int]:
        """Slots that are nowhere, and about to be nowhere."""
        found = {*self.holding.values(), *self.errands}
        return [slot for slot in range(self.slots) if slot not in found]

    def is_idle(self, worker: str) -> bool:
        """Whether a worker is there, holds nothing, and expects nothing."""
        expects = any(errand.target == worker for errand in self.errands.values())
        return self.holding.get(worker, 0) is None and not expects

    def is_awaited(self) -> bool:
        """Whether iterations have to wait."""
        return any(errand.is_awaited for errand in self.errands.values())

    # -- ordering ----------------------------------------------------------------------------------

    def assign(self, slot: int, worker: str, *, is_awaited: bool) -> None:
        """Has an idle worker begin with a new discriminator."""
        self._errand(
            Errand(slot=slot, target=worker, since_s=self._core.now, is_awaited=is_awaited)
        )
        order = self._order_to(worker)
        message = Assign(clock=self._core.tick(), slot=slot, order=order)
        self._core.emit(Send(peer=worker, message=message))

    def copy(self, source: int, slot: int, worker: str, *, round: int) -> None:
        """Has an idle worker get a copy of `source` as `slot`; its holder goes on meanwhile."""
        holder = self.places()[source]
        self._errand(Errand(slot=slot, target=worker, since_s=self._core.now, is_awaited=False))
        self._number += 1
        message = Move(
            clock=self._core.tick(),
            slot=slot,
            to=worker,
            keep=True,
            round=round,
            order=self._number,
        )
        self._core.emit(Send(peer=holder, message=message))
        self._expect(slot, holder, worker, round)

    def move(self, after: Mapping[int, str], *, round: int) -> None:
        """Has discriminators change places. Everybody is told to send before it is told to take."""
        before = self.places()
        moving = {slot: to for slot, to in sorted(after.items()) if before[slot] != to}
        for slot, to in moving.items():
            order = self._order_to(before[slot])
            message = Move(
                clock=self._core.tick(), slot=slot, to=to, keep=False, round=round, order=order
            )
            self._core.emit(Send(peer=before[slot], message=message))
        for slot, to in moving.items():
            mover = before[slot]
            self._errand(
                Errand(slot=slot, target=to, mover=mover, since_s=self._core.now, is_awaited=True)
            )
            self._expect(slot, mover, to, round)

    def release(self, worker: str) -> None:
        """Whatever a worker holds or expects, it is to forget."""
        order = self._order_to(worker)
        message = Release(clock=self._core.tick(), order=order)
        self._core.emit(Send(peer=worker, message=message))

    def leave_alone(self, errand: Errand) -> None:
        """Iterations go on without an errand, which may still be carried out."""
        self.errands[errand.slot] = replace(errand, is_awaited=False)

    def take_back(self, errand: Errand) -> None:
        """An errand is given up."""
        del self.errands[errand.slot]
        self.release(errand.target)
        # A mover without a word that counts may still have it, or may not: nobody can tell.
        if errand.mover and errand.mover not in self.holding:
            self.release(errand.mover)

    def _expect(self, slot: int, sender: str, worker: str, round: int) -> None:
        order = self._order_to(worker)
        message = Expect(
            clock=self._core.tick(), slot=slot, sender=sender, round=round, order=order
        )
        self._core.emit(Send(peer=worker, message=message))

    def _errand(self, errand: Errand) -> None:
        self.errands[errand.slot] = errand

    def _order_to(self, worker: str) -> int:
        """The number of an order that changes what a worker holds."""
        self._number += 1
        self._read[worker] = self._number
        self.holding.pop(worker, None)
        return self._number

    # -- hearing -----------------------------------------------------------------------------------

    def told(self, worker: str, slot: int | None, order: int) -> Errand | None:
        """A worker says what it holds; the errand that is done by this, if one is.

        A discriminator that is somewhere else by now, or about to be, is of no use: its worker is
        released.
        """
        if order < self._read.get(worker, 0):
            return None
        errand = self.errands.get(slot) if slot is not None else None
        if slot is not None and self._is_elsewhere(worker, slot, errand):
            self.release(worker)
            return None
        self.holding[worker] = slot
        if slot is None:
            return None
        for other in [e for e in self.errands.values() if worker in (e.target, e.mover)]:
            # It could not send its own, or is occupied: what was under way there will not come.
            if other.slot != slot and other.target == worker:
                del self.errands[other.slot]
        if errand is None:
            return None
        del self.errands[slot]
        if errand.target == worker:
            return errand
        self.release(errand.target)
        return None

    def _is_elsewhere(self, worker: str, slot: int, errand: Errand | None) -> bool:
        if errand is not None:
            return worker not in (errand.target, errand.mover)
        return any(held == slot and w != worker for w, held in self.holding.items())

    def gone(self, worker: str) -> None:
        """A worker cannot be reached any more; what was ordered of it may never have come."""
        self.holding.pop(worker, None)
        self._read.pop(worker, None)
        for errand in [e for e in self.errands.values() if e.target == worker]:
            del self.errands[errand.slot]

    def met(self, worker: str) -> None:
        """A worker takes our orders; none that was given before has reached it."""
        self._read.pop(worker, None)

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        held = [slot for slot in self.holding.values() if slot is not None]
        assert len(held) == len({*held}), "a discriminator is at two places"
        assert not {*held} & self.errands.keys(), "a discriminator is in its place and on its way"
        targets = [errand.target for errand in self.errands.values()]
        assert len(targets) == len({*targets}), "a worker expects two discriminators"
        assert all(self.holding.get(t) is None for t in targets), "an occupied worker expects one"
        assert all(0 <= slot < self.slots for slot in (*held, *self.errands)), "an unknown slot"
