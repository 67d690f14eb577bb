"""Push-sum between machines: no mass is lost or comes twice, whatever happens on the way."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pgan.mixing.merging import SumWeights
from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import split
from p2pgan.protocol.mass import RESEND_MAX_S, RESEND_TIMER
from p2pgan.protocol.messages import VectorAck, Welcome
from tests.protocol.party import Member, Party

RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]
TRIANGLE = [("A", "B"), ("B", "C"), ("C", "A")]
PAIR = [("A", "B")]

VALUES = 3
"""Of a network: two of G and one of D, float64."""


class Masses(Party):
    """A party that merges for real, in float64, without training; messages vanish and come twice.

    A piece in doubt counts where it is: with its receiver if that has accepted it, else with its
    sender. Machines do not know which; the party does.
    """

    def __init__(self, edges: Any, *, directed: bool = False, **common: Any) -> None:
        own: dict[str, dict[str, Any]] = {
            node: {"weighting": SumWeights(conserves=True)} for node in "ABCD"
        }
        for tail, head in edges if directed else ():
            own[tail]["draw"] = lambda ready, head=head: [head] if head in ready else []
        super().__init__(
            edges,
            overrides=own,
            exchange="mass",
            net_bytes={"G": 16, "D": 8},
            **common,
        )
        self.chunk_bytes = 16
        self.received: set[str] = set()
        """Exchange ids of what was accepted."""
        for member in self.members.values():
            values = self.rng.normal(size=VALUES)
            member.vector = {"G": values[:2], "D": values[2:]}
        self.total, self.weight = self.mass()

    def _obey(self, node: str, member: Member, instruction: do.Instruction) -> None:
        super()._obey(node, member, instruction)
        if isinstance(instruction, do.Record) and instruction.kind == "vector_received":
            self.received.add(instruction.fields["exchange"])

    def _is_finite(self, payload: bytes | memoryview) -> bool:
        return bool(np.isfinite(np.frombuffer(payload, np.float64)).all())

    def _merge(self, member: Member, order: do.Mix) -> dict[str, float]:
        own = np.concatenate([member.vector["G"], member.vector["D"]])
        parts = [(order.own, own)]
        for arrival, weight in zip(order.arrivals, order.weights, strict=True):
            data = arrival.data or order.kept[arrival.exchange]
            parts.append((weight, np.frombuffer(data, np.float64)))
        total = sum(weight for weight, _ in parts)
        merged = sum(weight / total * values for weight, values in parts)
        assert isinstance(merged, np.ndarray)
        member.vector = {"G": merged[:2], "D": merged[2:]}
        return {a.exchange: w / total for a, w in zip(order.arrivals, order.weights, strict=True)}

    def mass(self) -> tuple[np.ndarray, float]:
        """The sum of weighted networks and the sum of weights, wherever they are."""
        found = self._masses()
        total = np.sum([weight * values for weight, values in found], 0)
        return total, math.fsum(weight for weight, _ in found)

    def _masses(self) -> list[tuple[float, np.ndarray]]:
        found = []
        for member in self.members.values():
            machine: Any = member.machine
            trade = machine._trade
            own = np.concatenate([member.vector["G"], member.vector["D"]])
            found.append((trade._rule.own, own))
            mixing = member.work.arrivals if isinstance(member.work, do.Mix) else ()
            kept = member.work.kept if isinstance(member.work, do.Mix) else {}
            inbox = machine._exchanges.inbox.values()
            for arrival in (*mixing, *inbox, *trade._returned):
                data = arrival.data or kept.get(arrival.exchange)
                data = data or member.kept[arrival.exchange][1]
                found.append((arrival.weight, np.frombuffer(data, np.float64)))
            for doubt in trade._doubts.values():
                if doubt.out.exchange not in self.received:
                    data = member.kept[doubt.out.exchange][1]
                    found.append((doubt.weight, np.frombuffer(data, np.float64)))
        return found

    def check_mass(self) -> None:
        total, weight = self.mass()
        assert abs(weight - self.weight) < 1e-12, "weight came from nowhere or went there"
        np.testing.assert_allclose(total, self.total, rtol=1e-12, atol=1e-12)
        for member in self.members.values():
            machine: Any = member.machine
            needed = [doubt.out.exchange for doubt in machine._trade._doubts.values()]
            needed += [arrival.exchange for arrival in machine._trade._returned]
            assert sorted(member.kept) == sorted(needed), "a vector is kept for nothing"

    def take(self, step: tuple[str, ...]) -> None:
        super().take(step)
        self.check_mass()

    def estimates(self) -> np.ndarray:
        return np.array([[*m.vector["G"], *m.vector["D"]] for m in self.members.values()])

    def vanish(self, caller: str, callee: str, *, back: bool) -> None:
        """The next message of a connection is lost."""
        queue = self._queue(caller, callee, back=back)
        if queue:
            queue.popleft()

    def repeat(self, caller: str, callee: str, *, back: bool) -> None:
        """The next message of a connection comes twice."""
        queue = self._queue(caller, callee, back=back)
        if queue:
            queue.appendleft(queue[0])

    def _queue(self, caller: str, callee: str, *, back: bool) -> Any:
        connection = self.connections[caller, callee]
        return connection.back if back else connection.forward


QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(data=st.data())
def test_mass_is_conserved_whatever_happens(data: st.DataObject) -> None:
    """After every step: lost and repeated messages and acknowledgments, broken connections, any
    order; nodes that stop keep what they have, and what they had not answered for stays with its
    sender."""
    edges = data.draw(st.sampled_from([PAIR, TRIANGLE, RING]))
    party = Masses(edges, seed=data.draw(st.integers(0, 2**32 - 1)), iterations=40, wait_s=1.0)
    party.work_s[do.Train] = 1.0
    party.start()
    for _ in range(data.draw(st.integers(0, 25), label="disturbances")):
        quiet = iter(range(data.draw(st.integers(0, 30))))
        party.settle(until=partial(ran_out, quiet))
        disturb(party, data)
        party.check_mass()
    party.settle(until=lambda: any(m.phase in ENDS for m in party.members.values()))


def ran_out(steps: Iterator[int]) -> bool:
    return next(steps, None) is None


ENDS = ("leaving", "closed")
"""From here on a node's mass is that of a dead one."""


def disturb(party: Masses, data: st.DataObject) -> None:
    """One thing that goes wrong."""
    pair = data.draw(st.sampled_from(sorted(party.connections)))
    what = data.draw(st.sampled_from(["down", "vanish", "vanish", "repeat", "timer"]))
    back = data.draw(st.booleans())
    if what == "down" and party.connections[pair].is_up:
        party.take(("down", *pair))
    elif what == "vanish":
        party.vanish(*pair, back=back)
    elif what == "repeat":
        party.repeat(*pair, back=back)
    elif what == "timer" and party.timers():
        party.take(party.timers()[0])


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_estimates_go_to_the_exact_mean(directed: bool, seed: int) -> None:
    """Also where nobody ever hears from those that it sends to, as plain averages do not."""
    party = Masses(RING, seed=seed, iterations=600, directed=directed)
    mean = party.estimates().mean(0)
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: any(m.phase in ENDS for m in party.members.values()))
    np.testing.assert_allclose(party.estimates(), np.tile(mean, (4, 1)), atol=1e-9)


def test_estimates_go_to_the_exact_mean_though_every_third_message_is_lost() -> None:
    party = Masses(RING, seed=4, iterations=1200, wait_s=1.0)
    mean = party.estimates().mean(0)
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: all(m.phase == "training" for m in party.members.values()))

    def lossy() -> bool:
        for pair in party.connections:
            if party.rng.random() < 0.02:
                party.vanish(*pair, back=bool(party.rng.integers(2)))
        return any(m.phase in ENDS for m in party.members.values())

    party.settle(until=lossy, limit=200_000)
    dropped = [fields["reason"] for _, fields in party.logged("vector_dropped")]
    assert dropped
    np.testing.assert_allclose(party.estimates(), np.tile(mean, (4, 1)), atol=1e-9)


def masses(edges: Any = PAIR, **common: Any) -> Masses:
    """Started, with work that takes its time."""
    party = Masses(edges, seed=3, iterations=40, wait_s=1.0, **common)
    party.work_s[do.Train] = 1.0
    party.start()
    return party


def in_doubt(party: Masses, node: str) -> list[str]:
    machine: Any = party.members[node].machine
    return [doubt.out.exchange for doubt in machine._trade._doubts.values()]


def until_doubt(party: Masses, node: str) -> str:
    """Runs until a node has a piece on its way; its exchange id."""
    party.settle(until=lambda: bool(in_doubt(party, node)))
    return in_doubt(party, node)[0]


def reasons(party: Masses, exchange: str) -> set[str]:
    dropped = [f for _, f in party.logged("vector_dropped") if f["exchange"] == exchange]
    return {fields["reason"] for fields in dropped}


def test_a_lost_acknowledgment_is_said_again_and_nothing_merged_twice() -> None:
    party = masses()
    exchange = until_doubt(party, "A")
    party.settle(until=lambda: exchange in party.received)
    party.vanish("A", "B", back=True)
    assert in_doubt(party, "A") == [exchange]
    party.settle(until=lambda: exchange not in in_doubt(party, "A"))
    assert party.members["B"].mixed.count(exchange) <= 1
    assert not reasons(party, exchange)
    assert exchange not in party.members["A"].kept


def test_a_broken_connection_leaves_it_in_doubt_until_the_peer_is_ready_again() -> None:
    party = masses()
    exchange = until_doubt(party, "A")
    party.take(("down", "A", "B"))
    assert in_doubt(party, "A") == [exchange]
    del party.members["A"].timers[RESEND_TIMER]  # it fires in vain meanwhile
    party.tell("A", ev.TimerFired(name=RESEND_TIMER))
    machine: Any = party.members["A"].machine
    party.settle(until=lambda: machine._neighborhood.links["B"].is_ready)
    assert RESEND_TIMER in party.members["A"].timers
    party.settle(until=lambda: exchange in party.received)
    assert not reasons(party, exchange)


def test_a_second_piece_comes_back_from_who_has_not_mixed_the_first() -> None:
    """A is quick: B has not mixed its last one when the next comes."""
    party = masses()
    party.slower["B"] = 5.0
    party.settle(until=lambda: bool(party.members["A"].kinds("vector_dropped")))
    (back,) = party.members["A"].kinds("vector_dropped")
    assert back["reason"] == "busy"
    machine: Any = party.members["A"].machine
    assert [arrival.exchange for arrival in machine._trade._returned] == [back["exchange"]]
    party.settle(until=lambda: not machine._trade._returned)
    assert back["exchange"] not in party.members["A"].kept


def test_no_second_piece_is_sent_to_who_has_not_decided() -> None:
    party = masses()
    exchange = until_doubt(party, "A")
    party.frozen.add("B")
    party.settle(until=lambda: party.members["A"].phase in ENDS)
    sent = [fields["exchange"] for fields in party.members["A"].kinds("vector_sent")]
    assert sent[-1] == exchange


def test_who_leaves_gives_back_what_comes() -> None:
    party = masses()
    exchange = until_doubt(party, "A")
    party.tell("B", ev.StopRequested())
    party.settle(until=lambda: exchange not in in_doubt(party, "A"))
    assert reasons(party, exchange) == {"finished"}
    party.check_mass()


def test_a_stranger_to_the_receiver_decides_nothing() -> None:
    """B has forgotten who calls: it may have had the piece before that."""
    party = masses()
    exchange = until_doubt(party, "A")
    ack = VectorAck(clock=1, exchange=exchange, accepted=False, reason="not_welcomed")
    party.tell("A", ev.Answered(peer="B", message=ack))
    assert in_doubt(party, "A") == [exchange]
    assert not reasons(party, exchange)


def test_a_peer_that_was_started_anew_has_taken_what_was_in_doubt_along() -> None:
    party = masses()
    exchange = until_doubt(party, "A")
    party.take(("down", "A", "B"))
    machine: Any = party.members["A"].machine
    party.tell("A", ev.LinkUp(peer="B"))
    link = machine._neighborhood.links["B"]
    link.route = None
    machine._neighborhood.routes.clear()
    welcome = Welcome(clock=1, node="B", boot="another-life", round=0)
    party.tell("A", ev.Answered(peer="B", message=welcome))
    assert in_doubt(party, "A") == []
    assert reasons(party, exchange) == {"restarted"}
    assert exchange not in party.members["A"].kept


def test_pieces_that_no_honest_peer_sends_are_faults_of_their_sender() -> None:
    """The first chunk of one, and then that of an earlier one."""
    party = masses()
    party.settle(until=lambda: all(m.phase == "training" for m in party.members.values()))
    route = party.connections["A", "B"].route
    for counter in (7, 6):
        order = do.SendVector(
            peer="B",
            exchange=f"A.A-boot-o.{counter}",
            nets=("G", "D"),
            round=1,
            clock=1,
            purpose="mass",
            weight=0.5,
        )
        chunk, payload = next(split(bytes(24), order, chunk_bytes=8))
        party.tell("B", ev.Received(route=route, message=chunk, payload=payload))
    assert party.members["B"].machine.statistics().peers[0].faults == 1
    assert reasons(party, order.exchange) == {"order"}
    party.settle(until=lambda: bool(party.members["B"].mixed))


def test_repetitions_wait_longer_and_longer() -> None:
    """B is frozen with its connections standing."""
    party = masses()
    party.settle(until=lambda: len(party.logged("vector_mixed")) > 3)
    until_doubt(party, "A")
    party.frozen.add("B")
    party.members["A"].work = None
    machine: Any = party.members["A"].machine
    (doubt,) = machine._trade._doubts.values()
    waits = []
    for _ in range(12):
        (timer,) = [timer for timer in party.timers() if timer[2] == RESEND_TIMER]
        party.now = max(party.now, party.members["A"].timers[RESEND_TIMER])
        party.take(timer)
        waits.append(doubt.wait_s)
    assert waits == sorted(waits)
    assert waits[1] == 2 * waits[0]
    assert waits[-1] == RESEND_MAX_S
