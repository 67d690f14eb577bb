"""MD-GAN's worker: it has a discriminator at most, and says what that thinks of generated images.

Source: thesis, section 5.2. A worker does one thing at a time: the coordinator's orders first, in
the order in which they came, so that a discriminator is sent away before another is taken; then a
discriminator that has come and is expected; then batches. So moves and batches never meet.

A discriminator may come before the coordinator has said that it will, since the two take different
ways: it waits in the inbox, one of each sender at most, until it is expected, or known to be stale.
"""

from collections import deque
from typing import Final

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival, VectorError
from p2pgan.protocol.exchanges import Parcel
from p2pgan.protocol.links import Link
from p2pgan.protocol.messages import (
    Assign,
    Chunk,
    Expect,
    Holding,
    Message,
    Move,
    Orders,
    Release,
)
from p2pgan.protocol.phases import SPLIT_WORKER, Cause, Phase
from p2pgan.protocol.roles import MOVE_NETS, Split, WorkerSettings
from p2pgan.protocol.worker import WorkerMachine

MAX_ORDERS: Final = 64
"""Orders that wait; a coordinator has a handful under way to one worker."""


class SplitWorker(WorkerMachine):
    """MD-GAN's worker, without any I/O.

    Invariants, beside those of `Machine`: it holds a discriminator of the run or none; batches wait
    only for the one that it holds; what it takes or sends is one at a time.
    """

    TRANSITIONS = SPLIT_WORKER

    __slots__ = ("_batches", "_expected", "_held", "_is_void", "_judging", "_losses", "_orders",
                 "_playing", "_read", "_sending", "_system", "_taking", "_train_s")  # fmt: skip

    def __init__(self, settings: WorkerSettings) -> None:
        assert isinstance(settings.system, Split)
        super().__init__(settings)
        self._system = settings.system
        self._held: int | None = None
        self._orders: deque[Orders] = deque(maxlen=MAX_ORDERS)
        self._read = 0
        """Number of the last order that was carried out, or given up."""
        self._expected: Expect | None = None
        self._batches: Arrival | None = None
        """The next to work on."""
        self._judging: Arrival | None = None
        """Those at hand."""
        self._is_void = False
        """Whether nobody waits for the feedback or the discriminator at hand any more."""
        self._sending: Move | None = None
        self._taking: tuple[int, Arrival | None] | None = None
        """The discriminator that is made, or taken from an arrival."""
        self._playing = 0
        self._losses: list[tuple[float, float]] = []
        """Of the discriminator and of what it judged, since the round began."""
        self._train_s = 0.0

    # -- gate --------------------------------------------------------------------------------------

    def bytes_of(self, nets: tuple[str, ...]) -> int:
        """What is sent is packed before."""
        raise AssertionError(f"MD-GAN's workers do not send {nets} as they are")

    def admit(self, link: Link, chunk: Chunk) -> int:
        """Batches from the coordinator, discriminators from others."""
        at = f"peer `{link.peer}`"
        if chunk.origin:
            raise VectorError("origin", expected="none", got="one", at=at)
        if self._is_coordinator(link):
            if chunk.purpose != "batches" or chunk.nets:
                raise VectorError("nets", expected="batches", got=f"{chunk.purpose}", at=at)
            if self._held is None or chunk.slot != self._held:
                raise VectorError("slot", expected=f"{self._held}", got=f"{chunk.slot}", at=at)
            return self._system.batches_bytes
        if chunk.purpose != "move" or chunk.nets != MOVE_NETS:
            raise VectorError("nets", expected="a discriminator", got=f"{chunk.purpose}", at=at)
        if chunk.slot >= self._system.slots:
            raise VectorError("slot", expected="one of the run", got=f"{chunk.slot}", at=at)
        return self._system.move_bytes[chunk.slot]

    def _take(self, arrival: Arrival, link: Link) -> None:
        if arrival.purpose == "move":
            self._exchanges.keep(arrival)
        elif self._held != arrival.slot or self._batches is not None or self._reason:
            self._exchanges.refuse(link, arrival, "busy")
        else:
            self._batches = arrival

    # -- the coordinator's word --------------------------------------------------------------------

    def _obey(self, message: Message) -> bool:
        if not isinstance(message, Orders) or len(self._orders) >= MAX_ORDERS:
            return False
        if not self._makes_sense(message):
            return False
        self._orders.append(message)
        return True

    def _makes_sense(self, order: Orders) -> bool:
        others = self._neighborhood.links.keys() - {self._settings.coordinator}
        match order:
            case Assign():
                return order.slot < self._system.slots
            case Move():
                return order.slot < self._system.slots and order.to in others
            case Expect():
                return order.slot < self._system.slots and order.sender in others
            case Release():
                return True

    def _report(self) -> None:
        if self._coordinator.is_ready:
            message = Holding(clock=self._core.tick(), slot=self._held, order=self._read)
            self._core.emit(do.Send(peer=self._coordinator.peer, message=message))

    def _met(self, *, is_new: bool) -> None:
        """The coordinator forgets what it has asked when a connection breaks, and asks nothing
        before our report. Another boot of it numbers its orders anew: by the former one's numbers
        our report would answer orders that we have not seen."""
        if is_new:
            self._read = 0
        self._void()
        self._report()

    def _lost(self, peer: str) -> None:
        if peer == self._settings.coordinator:
            self._void()

    def _void(self) -> None:
        self._orders.clear()
        self._expected = self._batches = None
        self._is_void = True

    # -- one thing at a time -----------------------------------------------------------------------

    def _next(self) -> None:
        while self._orders and self.phase is Phase.WAITING:
            self._carry_out(self._orders.popleft())
        if self.phase is Phase.WAITING:
            self._take_expected()
        if self.phase is Phase.WAITING and self._batches is not None:
            self._criticise()

    def _carry_out(self, order: Orders) -> None:
        self._read = order.order
        match order:
            case Assign():
                self._expected = None
                self._begin_with(order.slot, None)
                return
            case Move():
                is_ours = self._held is not None and (order.keep or order.slot == self._held)
                if is_ours and self._neighborhood.links[order.to].is_ready:
                    self._enter(Cause.SENDS)
                    self._sending, self._is_void = order, False
                    self._core.emit(do.Pack())
                    return
            case Expect():
                self._expected = order if self._held is None else None
            case Release():
                self._held = self._expected = self._batches = None
        self._report()

    def _begin_with(self, slot: int, arrival: Arrival | None) -> None:
        self._enter(Cause.TAKES)
        self._held = self._batches = None
        self._taking = (slot, arrival)
        if arrival is None:
            self._core.emit(do.MakeDiscriminator(slot=slot))
        else:
            self._core.emit(do.TakeDiscriminator(arrival=arrival))

    def _take_expected(self) -> None:
        """What comes of another round than the expected one is stale, and will never be wanted."""
        expected = self._expected
        if expected is None:
            return
        arrived = {arrival.peer: arrival for arrival in self._exchanges.take()}
        chosen = None
        for peer, arrival in arrived.items():
            wanted = (expected.sender, expected.slot, expected.round)
            if (peer, arrival.slot, arrival.round) == wanted:
                chosen = arrival
            elif arrival.round < expected.round:
                self._exchanges.discard((arrival,), "stale")
            else:
                self._exchanges.keep(arrival)
        if chosen is not None:
            self._expected = None
            self._begin_with(chosen.slot, chosen)

    def _criticise(self) -> None:
        batches, self._batches = self._batches, None
        assert batches is not None
        self._enter(Cause.BATCHES_CAME)
        self._judging, self._is_void = batches, False
        if self._round_of(batches.round) > self._playing:
            self._finish_round()
        self._playing = self._round_of(batches.round)
        self._core.emit(do.Criticise(arrival=batches))

    # -- what is done ------------------------------------------------------------------------------

    def _work_done(self, event: ev.Event) -> None:
        match self.phase, event:
            case Phase.TRAINING, ev.CriticismDone():
                self._criticised(event)
            case Phase.ADOPTING, ev.DiscriminatorReady():
                self._taken()
            case Phase.PACKING, ev.Packed():
                self._packed(event)
            case _:
                raise self._impossible(event)

    def _criticised(self, event: ev.CriticismDone) -> None:
        batches, self._judging = self._judging, None
        assert batches is not None
        if len(event.data) != self._system.feedback_bytes:
            raise self._impossible(event)
        self._iterations += 1
        self._losses.append((event.loss_d, event.loss_g))
        self._train_s += event.train_s
        if not self._is_void and self._coordinator.is_ready:
            parcel = Parcel(purpose="feedback", slot=batches.slot, data=event.data)
            self._exchanges.send(self._coordinator.peer, (), round=batches.round, parcel=parcel)
        if self._round_of(batches.round + 1) > self._playing:
            self._finish_round()
        self._done(Cause.TRAINED)

    def _taken(self) -> None:
        assert self._taking is not None
        (slot, arrival), self._taking = self._taking, None
        self._held = slot
        if arrival is not None:
            self._exchanges.mixed(arrival, weight=1.0, round=arrival.round)
        self._report()
        self._done(Cause.ADOPTED)

    def _packed(self, event: ev.Packed) -> None:
        move, self._sending = self._sending, None
        assert move is not None
        assert self._held is not None
        if len(event.data) != self._system.move_bytes[self._held]:
            raise self._impossible(event)
        # An order of a coordinator that has forgotten it would send it to where nobody expects it.
        if not self._is_void and self._neighborhood.links[move.to].is_ready:
            parcel = Parcel(purpose="move", slot=move.slot, number=event.number, data=event.data)
            self._exchanges.send(move.to, MOVE_NETS, round=move.round, parcel=parcel)
            if not move.keep:
                self._held = self._batches = None
        self._report()
        self._done(Cause.PACKED)

    def _done(self, cause: Cause) -> None:
        if self._reason:
            self._save(Cause.HALTED)
        else:
            self._enter(cause)
            self._go_on()

    # -- rounds ------------------------------------------------------------------------------------

    def _round_of(self, iteration: int) -> int:
        """The round of batches, whose number is that of the generator's next update."""
        updates = self._settings.exchange_every * self._system.updates_per_iteration
        return (max(1, iteration) - 1) // updates + 1

    def _finish_round(self) -> None:
        """Records what was learned in a round; nothing, if another worker had the discriminator."""
        if not self._losses:
            return
        self._round += 1
        losses_d, losses_g = zip(*self._losses, strict=True)
        self._core.record(
            "round_finished",
            round=self._playing,
            iterations=self._iterations,
            loss_d=sum(losses_d) / len(losses_d),
            loss_g=sum(losses_g) / len(losses_g),
            train_s=self._train_s,
        )
        self._losses, self._train_s = [], 0.0

    # -- the end -----------------------------------------------------------------------------------

    def _saved(self) -> None:
        self._finish_round()

    def _state(self) -> bytes:
        """Empty, if there is no discriminator here to save."""
        return b"" if self._held is None else b"%d" % self._held

    def _let_go(self) -> None:
        if self._taking is not None and self._taking[1] is not None:
            self._exchanges.discard((self._taking[1],), self._reason)
        self._taking = self._sending = self._expected = None
        self._batches = self._judging = None
        self._orders.clear()

    def _held_bytes(self) -> int:
        taking = self._taking[1] if self._taking is not None else None
        held = (self._batches, self._judging, taking)
        return sum(len(arrival.data) for arrival in held if arrival is not None)

    def validate(self) -> None:
        """Asserts the invariants of the class."""
        super().validate()
        assert self._held is None or self._held < self._system.slots, "an unknown discriminator"
        if self._batches is not None and self.phase is Phase.WAITING:
            assert self._batches.slot == self._held, "batches for another discriminator"
        judges = self.phase is Phase.TRAINING
        assert (self._judging is not None) == judges, "judges at another time"
        assert (self._sending is not None) == (self.phase is Phase.PACKING), "sends at another time"
        assert (self._taking is not None) == (self.phase is Phase.ADOPTING), "takes at another time"
