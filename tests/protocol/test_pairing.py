"""Pairs between machines: both ends move towards each other, though both have trained meanwhile."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.chunks import Arrival
from p2pgan.protocol.messages import Refuse
from p2pgan.protocol.pairing import PATIENCE
from tests.protocol.party import Member, Party

RING = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]
PAIR = [("A", "B")]

ENDS = ("saving", "leaving", "closed")
"""From here on a node refuses to pair."""


class Pairing(Party):
    """A party that trains and merges for real, in float64."""

    def __init__(self, edges: Any, *, drift: float = 1.0, **common: Any) -> None:
        super().__init__(edges, exchange="pair", net_bytes={"G": 16, "D": 8}, **common)
        self.chunk_bytes = 16
        self.drift = drift
        self.sent: dict[str, do.SendVector] = {}
        self.data: dict[str, np.ndarray] = {}
        """By exchange id, what was sent."""
        self.taken: set[str] = set()
        """Exchange ids of answers that have come."""
        self.mixings = dict.fromkeys(self.members, 0)
        self.sent_after: dict[str, int] = {}
        """By exchange id, how often its sender had mixed."""
        for member in self.members.values():
            self.put(member, self.rng.normal(size=3))
        self.trained = np.zeros(3)
        """The sum of all that training has changed."""
        self.total = self.balance()

    def put(self, member: Member, values: np.ndarray) -> None:
        member.vector = {"G": values[:2], "D": values[2:]}

    def _is_finite(self, payload: bytes | memoryview) -> bool:
        return bool(np.isfinite(np.frombuffer(payload, np.float64)).all())

    def _obey(self, node: str, member: Member, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.SendVector):
            self.sent[instruction.exchange] = instruction
            self.data[instruction.exchange] = values_of(member)
            self.sent_after[instruction.exchange] = self.mixings[node]
            assert not isinstance(member.work, do.Mix), "networks were sent while they change"
        if isinstance(instruction, do.Mix):
            for base in instruction.bases.values():
                assert self.sent_after[base] == self.mixings[node], "a base is too old"
            self.mixings[node] += 1
        super()._obey(node, member, instruction)
        if isinstance(instruction, do.Record) and instruction.kind == "vector_received":
            self.taken.add(instruction.fields["exchange"])

    def _finish_work(self, node: str) -> None:
        member = self.members[node]
        if isinstance(member.work, do.Train):
            change = self.drift * self.rng.normal(size=3)
            self.put(member, values_of(member) + change)
            self.trained = self.trained + change
        super()._finish_work(node)

    def _merge(self, member: Member, order: do.Mix) -> dict[str, float]:
        own = values_of(member)
        for arrival in order.arrivals:
            came = np.frombuffer(arrival.data, np.float64)
            base = order.bases.get(arrival.exchange)
            if base is None:
                own = (own + came) / 2
            else:
                own = own + (came - np.frombuffer(order.kept[base], np.float64)) / 2
        self.put(member, own)
        return {arrival.exchange: 0.5 for arrival in order.arrivals}

    def balance(self) -> np.ndarray:
        """Of all networks, once everything on its way is mixed."""
        total: np.ndarray = self.estimates().sum(0)
        for member in self.members.values():
            machine: Any = member.machine
            halves = (machine._trade._answered, machine._trade._taken)
            waiting = [(h.arrival.exchange, h.base) for h in halves if h is not None]
            if isinstance(member.work, do.Mix):
                waiting += member.work.bases.items()
            for came, base in waiting:
                total = total + (self.data[came] - self.data[base]) / 2
        for exchange, order in self.sent.items():
            if order.purpose == "answer" and exchange not in self.taken:
                total = total + (self.data[exchange] - self.data[order.answers]) / 2
        return total

    def estimates(self) -> np.ndarray:
        return np.array([values_of(member) for member in self.members.values()])


def values_of(member: Member) -> np.ndarray:
    return np.concatenate([member.vector["G"], member.vector["D"]]).astype(np.float64)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), edges=st.sampled_from([PAIR, RING]))
def test_the_sum_is_what_training_makes_of_it(seed: int, edges: Any) -> None:
    """After every step, in any order of messages and work."""
    party = Pairing(edges, seed=seed, iterations=20)
    party.work_s = {do.Train: 1.0, do.Mix: 0.5}

    def quickly(steps: list[tuple[str, ...]]) -> tuple[str, ...]:
        """No answer is late."""
        messages = [step for step in steps if step[0] != "work"] or steps
        return messages[int(party.rng.integers(len(messages)))]

    def check() -> bool:
        np.testing.assert_allclose(party.balance(), party.total + party.trained, atol=1e-9)
        assert all(len(member.kept) <= 2 for member in party.members.values())
        return any(member.phase in ENDS for member in party.members.values())

    party.start()
    party.settle(quickly, until=check)
    assert party.logged("vector_mixed")
    assert all(fields["weight"] == 0.5 for _, fields in party.logged("vector_mixed"))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), late=st.floats(0.1, 3.0))
def test_no_base_is_older_than_the_last_mixing(seed: int, late: float) -> None:
    """Messages wait for long; what is late is averaged. The party asserts it at every mixing."""
    party = Pairing(RING, seed=seed, iterations=30)
    party.work_s = {do.Train: 1.0, do.Mix: late}

    def slowly(steps: list[tuple[str, ...]]) -> tuple[str, ...]:
        work = [step for step in steps if step[0] == "work"]
        chosen = work if work and party.rng.random() < 0.7 else steps
        return chosen[int(party.rng.integers(len(chosen)))]

    party.start()
    party.settle(slowly)
    party.check_closed()
    party.check_accounts()


def test_of_two_who_ask_each_other_one_is_answered() -> None:
    """Else they would trade places."""
    party = Pairing(PAIR, seed=2, iterations=4)
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: len(requested(party)) == 2)
    assert [order.peer for order in requested(party)] in (["A", "B"], ["B", "A"])
    party.settle(until=lambda: any(isinstance(m.work, do.Mix) for m in party.members.values()))
    (answered,) = [order for order in party.sent.values() if order.purpose == "answer"]
    assert answered.peer == "A"
    assert [f["reason"] for f in party.members["A"].kinds("vector_dropped")] == ["busy"]


def requested(party: Pairing) -> list[do.SendVector]:
    return [order for order in party.sent.values() if order.purpose == "pair"]


@pytest.mark.parametrize("seed", range(3))
def test_without_training_all_go_to_the_exact_mean(seed: int) -> None:
    party = Pairing(RING, seed=seed, drift=0.0, iterations=240)
    mean = party.estimates().mean(0)
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: any(m.phase in ENDS for m in party.members.values()))
    np.testing.assert_allclose(party.estimates(), np.tile(mean, (4, 1)), atol=1e-6)


def test_both_ends_of_a_pair_mix_once(party_of: Callable[..., Any]) -> None:
    """A asks alone: B answers with what it has, and both mix after their next training."""
    party = party_of(
        PAIR,
        exchange="pair",
        iterations=6,
        overrides={"B": {"draw": lambda ready: []}, "A": {"draw": first}},
    )
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: len(party.logged("vector_mixed")) == 2)
    request, answer = (party.members[node].kinds("vector_received")[0] for node in "BA")
    assert (request["purpose"], answer["purpose"]) == ("pair", "answer")
    assert party.members["A"].mixed == [answer["exchange"]]
    assert party.members["B"].mixed == [request["exchange"]]
    party.settle()
    party.check_closed()
    party.check_accounts()


def first(ready: Any) -> Any:
    return ready[:1]


def test_a_node_answers_one_in_a_round(party_of: Callable[..., Any]) -> None:
    """The second of two who ask the same node is refused as `busy`, and asks again later."""
    party = party_of(
        [("A", "C"), ("B", "C")],
        exchange="pair",
        iterations=8,
        overrides={"C": {"draw": lambda ready: []}},
    )
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle()
    party.check_closed()
    party.check_accounts()
    dropped = [fields["reason"] for node, fields in party.logged("vector_dropped") if node == "C"]
    assert "busy" in dropped
    rounds = [fields["round"] for node, fields in party.logged("vector_mixed") if node == "C"]
    assert rounds


def test_nobody_is_answered_before_there_are_networks(party_of: Callable[..., Any]) -> None:
    """B trains its first round for long: it has nothing to send yet."""
    party = party_of(PAIR, exchange="pair", iterations=4)
    party.work_s[do.Train] = 1.0
    party.slower["B"] = 100.0
    party.start()
    party.settle(until=lambda: party.members["A"].phase == "closed")
    assert [f["reason"] for f in party.members["B"].kinds("vector_dropped")] == ["busy"]
    party.settle()
    party.check_accounts()


def test_a_late_answer_is_averaged() -> None:
    """A gives up a request when its connection breaks; B's answer comes all the same."""
    party = Pairing(PAIR, iterations=8, seed=1)
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: bool(answers(party)))
    asker = party.sent[answers(party)[0].answers].exchange[0]
    party.take(("down", asker, "B" if asker == "A" else "A"))
    party.settle(until=lambda: isinstance(party.members[asker].work, do.Mix))
    mix = party.members[asker].work
    assert isinstance(mix, do.Mix)
    late = [a for a in mix.arrivals if a.purpose == "answer"]
    assert late
    assert late[0].exchange not in mix.bases
    party.settle()
    party.check_accounts()


def answers(party: Pairing) -> list[do.SendVector]:
    sent = [order for order in party.sent.values() if order.purpose == "answer"]
    return [order for order in sent if order.exchange not in party.taken]


@pytest.mark.parametrize("way", ["down", "refused"])
def test_who_cannot_be_answered_is_not_mixed_with(way: str) -> None:
    """A request comes while a node mixes, and before it has done so its asker is out of reach: what
    the asker does not get it cannot mix, and half a pair would move the sum."""
    party = Pairing([("A", "B"), ("B", "C"), ("C", "A")], iterations=40, seed=0)
    party.work_s = {do.Train: 1.0, do.Mix: 0.5}
    party.start()
    party.settle(until=lambda: bool(held(party)))
    ((node, request),) = held(party)
    if way == "down":
        party.take(("down", node, request.peer))
    else:
        refuse = Refuse(clock=1, node=request.peer, code="faults", text="")
        party.tell(node, ev.Answered(peer=request.peer, message=refuse))
    party.settle(until=lambda: not isinstance(party.members[node].work, do.Mix))
    dropped = party.members[node].kinds("vector_dropped")
    assert (request.exchange, "unanswered") in [(f["exchange"], f["reason"]) for f in dropped]
    assert all(order.answers != request.exchange for order in party.sent.values())
    party.settle()
    assert request.exchange not in party.members[node].mixed
    party.check_closed()
    party.check_accounts()


def held(party: Pairing) -> list[tuple[str, Arrival]]:
    """Requests that wait until a node has mixed."""
    machines: dict[str, Any] = {node: member.machine for node, member in party.members.items()}
    found = [(node, machine._trade._held) for node, machine in machines.items()]
    return [(node, request) for node, request in found if request is not None]


def test_patience_ends(party_of: Callable[..., Any]) -> None:
    """B is frozen with its connections standing: A asks it again, but not every round."""
    party = party_of(PAIR, exchange="pair", iterations=2 * (2 * PATIENCE + 5))
    party.work_s[do.Train] = 1.0
    party.start()
    party.settle(until=lambda: bool(party.logged("vector_mixed")))
    party.frozen.add("B")
    asked = len(requests(party))
    party.settle(until=lambda: party.members["A"].phase in ENDS)
    assert asked + 1 <= len(requests(party)) <= asked + 3
    party.tell("A", ev.Abort())
    party.frozen.clear()
    party.settle()
    party.check_accounts()


def requests(party: Any) -> list[Any]:
    return [f for node, f in party.logged("vector_sent") if node == "A" and f["purpose"] == "pair"]
