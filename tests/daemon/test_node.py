"""Whole nodes over real sockets, with tiny work in the place of training."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import zmq

from p2pgan.daemon import control
from p2pgan.daemon.desk import ask
from p2pgan.daemon.health import Health
from p2pgan.daemon.node import NodeLoop
from p2pgan.daemon.trainer import Trainer
from p2pgan.daemon.transport import Transport, reserve_ports
from p2pgan.mixing.agreement import Voter
from p2pgan.mixing.merging import SumWeights
from p2pgan.node.host import Ended
from p2pgan.protocol import events as ev
from p2pgan.protocol.core import LastStepSettings, Settings
from p2pgan.protocol.instructions import Record
from p2pgan.protocol.links import Identity
from p2pgan.protocol.peer import PeerMachine

Until = Callable[[Callable[[], Any]], Any]


class Node:
    """One node in a thread of its own."""

    def __init__(self, name: str, addresses: dict[str, str], work: Any, **changes: Any) -> None:
        self.name, self.work = name, work
        self.log: list[Record] = []
        self.draws = 0
        self.ended: Ended | None = None
        self.transport = Transport(
            addresses[name], {peer: a for peer, a in addresses.items() if peer != name}
        )
        self.trainer = Trainer(
            lambda: work, self.transport.wake, changes.pop("stalled_s", math.inf)
        )
        identity = Identity(
            node=changes.pop("identity", name), run="run", architecture="tiny", boot=f"{name}-boot"
        )
        neighbors = tuple(peer for peer in addresses if peer != name)
        watcher = changes.pop("watcher", None)
        for own in ("last_step", "weighting"):
            if changes.get(own) is not None:
                changes[own] = changes[own](name)
        fields: dict[str, Any] = {"iterations": 60, "exchange_every": 2, "drain_s": 30.0}
        settings = Settings(
            identity=identity,
            neighbors=neighbors,
            groups=(("G", "D"),),
            net_bytes={"G": 12_000, "D": 2_000},
            draw=self._next,
            **{**fields, **changes},
        )
        self.loop = NodeLoop(
            PeerMachine(settings), self.transport, self.trainer, self.log.append, chunk_bytes=4096
        )
        if watcher is not None:
            self.loop.watch(watcher)
        self.thread = threading.Thread(target=self._run, name=name)

    def _next(self, ready: Sequence[str]) -> Sequence[str]:
        """One after the other, so that everybody's turn comes soon."""
        self.draws += 1
        return [ready[self.draws % len(ready)]]

    def _run(self) -> None:
        try:
            self.ended = self.loop.run(pid=1)
        finally:
            self.trainer.close(30.0)
            self.transport.close()

    def kinds(self, kind: str) -> list[Any]:
        return [dict(record.fields) for record in list(self.log) if record.kind == kind]


@pytest.fixture
def start(tiny_work: Callable[..., Any]) -> Iterator[Callable[..., list[Node]]]:
    """Starts nodes that all know each other; stops what is left of them at the end."""
    started: list[Node] = []

    def start_(names: str, run: str = "", **changes: Any) -> list[Node]:
        held, ports = reserve_ports(len(names))
        addresses = {n: f"tcp://127.0.0.1:{p}" for n, p in zip(names, ports, strict=True)}
        starts = changes.pop("starts", {})
        nodes = [
            Node(name, addresses, tiny_work(starts.get(name, 0.0)), **changes)
            for name in run or names
        ]
        started.extend(nodes)
        for reserved in held:
            reserved.close()
        for node in nodes:
            node.thread.start()
        return nodes

    yield start_
    for node in started:
        if node.thread.is_alive():
            node.loop.wish(ev.Abort())
        node.thread.join(30.0)
        assert not node.thread.is_alive()


def test_nodes_agree_over_real_sockets(start: Callable[..., list[Node]], until: Until) -> None:
    """The votes of a tiny network are its first number; the best pair is that of node `c`."""
    members = "abc"
    made: dict[str, Voter] = {}

    def last_step(name: str) -> LastStepSettings:
        made[name] = Voter(name)
        return LastStepSettings(
            name="agree",
            groups=(("G", "D"),),
            around={node: frozenset(members) - {node} for node in members},
            rounds=30,
            voter=made[name],
            stage=lambda round_: ("judging", "counting", "spreading")[(round_ - 1) // 10],
            judges=lambda ready: tuple(ready),
            wait_s=60.0,
            round_s=0.02,
        )

    nodes = start(members, last_step=last_step, starts={"a": 3.0, "b": 2.0, "c": 1.0})
    until(lambda: all(node.ended is not None for node in nodes))
    assert [node.kinds("agreed")[0]["origin"] for node in nodes] == ["c"] * 3
    assert all((node.work.vectors["G"] == 1.0).all() for node in nodes)
    check_accounts(nodes)


def check_accounts(nodes: list[Node]) -> None:
    sent = [fields["exchange"] for node in nodes for fields in node.kinds("vector_sent")]
    ends = {
        fields["exchange"]
        for node in nodes
        for kind in ("vector_received", "vector_dropped")
        for fields in node.kinds(kind)
    }
    assert sent
    assert len(set(sent)) == len(sent)
    assert set(sent) <= ends


def test_nodes_meet_exchange_and_part(start: Callable[..., list[Node]], until: Until) -> None:
    nodes = start("ABC")
    until(lambda: all(node.ended for node in nodes))
    for node in nodes:
        assert node.ended == Ended(reason="finished")
        assert node.work.iterations == 60
        assert len(node.kinds("round_finished")) == 30
        assert node.kinds("node_started")[0]["address"].startswith("tcp://127.0.0.1:")
        assert node.log[-1].kind == "node_stopped"
    assert any(node.kinds("vector_mixed") for node in nodes)
    check_accounts(nodes)


@pytest.mark.parametrize("exchange", ["mass", "pair"])
def test_mass_and_pairs_go_over_real_sockets(
    start: Callable[..., list[Node]], until: Until, exchange: str
) -> None:
    """All that is sent has an end."""
    weightings = {name: SumWeights(conserves=True) for name in "ABC"}
    nodes = start(
        "ABC", exchange=exchange, weighting=weightings.get if exchange == "mass" else None
    )
    until(lambda: all(node.ended for node in nodes))
    assert all(node.ended == Ended(reason="finished") for node in nodes)
    purposes = {fields["purpose"] for node in nodes for fields in node.kinds("vector_mixed")}
    assert purposes == ({"mass"} if exchange == "mass" else {"pair", "answer"})
    check_accounts(nodes)


def test_a_stop_is_quick_and_leaves_nothing_unaccounted(
    start: Callable[..., list[Node]], until: Until
) -> None:
    nodes = start("ABC", iterations=10_000_000)
    until(lambda: all(node.kinds("vector_received") for node in nodes))
    for node in nodes:
        node.loop.wish(ev.StopRequested(reason="interrupted"))
    until(lambda: all(node.ended for node in nodes))
    for node in nodes:
        assert node.ended is not None
        assert node.ended.reason == "interrupted"
        assert node.kinds("checkpoint_saved")
    check_accounts(nodes)


def test_an_abort_waits_for_nobody(start: Callable[..., list[Node]], until: Until) -> None:
    (node,) = start("AB", run="A", wait_s=1e6)
    until(lambda: node.kinds("node_started"))
    node.loop.wish(ev.Abort(reason="interrupted"))
    until(lambda: node.ended)
    assert node.ended == Ended(reason="interrupted")


def test_a_node_is_asked_and_stopped_through_its_control_socket(
    start: Callable[..., list[Node]], until: Until
) -> None:
    a, b = start("AB", iterations=10_000_000)
    until(lambda: a.kinds("vector_mixed"))
    address = a.kinds("node_started")[0]["control"]
    status = control.request(address, control.StatusRequest(), 30.0)
    assert isinstance(status, control.StatusAnswer)
    assert (status.node, status.peers_ready, status.pid) == ("A", 1, 1)
    assert status.round > 0
    peers = control.request(address, control.PeersRequest(), 30.0)
    assert isinstance(peers, control.PeersAnswer)
    assert [row.peer for row in peers.peers] == ["B"]
    assert b"refused" in ask(address, b"nonsense", 30.0)
    stopped = control.request(address, control.StopRequest(), 30.0)
    assert isinstance(stopped, control.Granted)
    until(lambda: a.ended)
    assert a.ended == Ended(reason="stopped")
    assert b.ended is None


def test_a_node_pauses_scores_and_goes_on_through_its_control_socket(
    start: Callable[..., list[Node]], until: Until
) -> None:
    a, b = start("AB", iterations=10_000_000)
    until(lambda: a.kinds("vector_mixed"))
    address = a.kinds("node_started")[0]["control"]

    def ask_a(question: control.Request) -> Any:
        return control.request(address, question, 30.0)

    assert ask_a(control.ScoresRequest()) == control.ScoresAnswer(node="A")
    assert isinstance(ask_a(control.PauseRequest()), control.Granted)
    until(lambda: ask_a(control.StatusRequest()).phase == "paused")
    made, received = a.work.iterations, len(a.kinds("vector_received"))
    until(lambda: len(a.kinds("vector_received")) > received)
    assert a.work.iterations == made
    ask_a(control.ScoresRequest(now=True))
    until(lambda: ask_a(control.ScoresRequest()).fid == 10.0)
    assert ask_a(control.StatusRequest()).is_paused
    ask_a(control.ResumeRequest())
    until(lambda: a.work.iterations > made)
    assert b.ended is None


def test_a_node_that_is_about_to_end_declines(
    start: Callable[..., list[Node]], until: Until
) -> None:
    """It waits for a peer that never says goodbye: its own."""
    (a,) = start("AB", run="A", wait_s=0.0, iterations=10_000_000)
    until(lambda: a.kinds("round_finished"))
    reached, go_on = threading.Event(), threading.Event()

    def gate() -> None:
        reached.set()
        go_on.wait(60.0)

    a.work.gate = gate
    assert reached.wait(30.0)
    address = a.kinds("node_started")[0]["control"]
    control.request(address, control.StopRequest(), 30.0)
    declined = control.request(address, control.PauseRequest(), 30.0)
    go_on.set()
    assert declined == control.Declined(node="A", reason="it is about to end")
    until(lambda: a.ended)


def test_a_training_that_hangs_shows_and_so_does_its_end(
    start: Callable[..., list[Node]], until: Until
) -> None:
    """The loop goes on: it answers, and takes the vectors of others."""
    a, b = start("AB", iterations=10_000_000, stalled_s=0.3)
    until(lambda: a.kinds("vector_mixed"))
    go_on = threading.Event()
    a.work.gate = lambda: go_on.wait(60.0)
    address = a.kinds("node_started")[0]["control"]
    until(lambda: a.kinds("node_degraded"))
    status = control.request(address, control.StatusRequest(), 30.0)
    assert isinstance(status, control.StatusAnswer)
    assert status.is_degraded
    received = len(a.kinds("vector_received"))
    until(lambda: len(a.kinds("vector_received")) > received)
    go_on.set()
    until(lambda: len(a.kinds("node_degraded")) == 2)
    assert [fields["is_degraded"] for fields in a.kinds("node_degraded")] == [True, False]
    assert b.ended is None


def test_watchers_are_told_the_first_and_the_last_word(
    start: Callable[..., list[Node]], until: Until
) -> None:
    told: list[Health] = []
    (a,) = start("AB", run="A", wait_s=0.0, watcher=told.append)
    until(lambda: a.ended)
    a.thread.join(30.0)
    assert told[0].standing == "taking part", "it waits for nobody"
    assert told[-1].standing == "ending"
    assert told[-1].records["round_finished"] == 30
    assert [health.at_s for health in told] == sorted(health.at_s for health in told)


def test_a_failure_of_the_work_ends_that_node_alone(
    start: Callable[..., list[Node]], until: Until
) -> None:
    a, b = start("AB", iterations=2_000)

    def gate() -> None:
        raise RuntimeError("broken")

    until(lambda: a.kinds("vector_mixed"))
    a.work.gate = gate
    until(lambda: a.ended and b.ended)
    assert a.ended is not None
    assert (a.ended.reason, a.ended.failure) == ("failed", "RuntimeError: broken")
    assert isinstance(a.ended.error, RuntimeError)
    assert b.ended == Ended(reason="finished")
    check_accounts([a, b])


def test_a_second_process_under_one_id_is_turned_away(
    start: Callable[..., list[Node]], until: Until, tiny_work: Callable[..., Any]
) -> None:
    a, b = start("AB", iterations=10_000_000)
    until(lambda: a.kinds("vector_mixed"))
    double = Node(
        "double",
        {"double": "tcp://127.0.0.1:*", "A": a.transport.address},
        tiny_work(),
        identity="B",
    )
    double.thread.start()
    until(lambda: double.ended)
    double.thread.join(30.0)
    assert double.ended is not None
    assert double.ended.reason == "refused"
    assert "already taken" in double.ended.failure
    mixed = len(a.kinds("vector_mixed"))
    until(lambda: len(a.kinds("vector_mixed")) > mixed)
    assert b.ended is None


def test_a_node_lives_through_garbage_and_goes_on_exchanging(
    start: Callable[..., list[Node]], until: Until
) -> None:
    a, b = start("AB", iterations=10_000_000)
    until(lambda: a.kinds("vector_mixed"))
    address = a.kinds("node_started")[0]["control"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.connect(a.kinds("node_started")[0]["address"])
        for size in range(2_000):
            stranger.send_multipart([bytes(size % 97), bytes(size % 13)][: 1 + size % 2])
        stranger.send(bytes(3_000_000))

        def malformed() -> int:
            answer = control.request(address, control.StatusRequest(), 30.0)
            assert isinstance(answer, control.StatusAnswer)
            return answer.malformed

        until(lambda: malformed() >= 2_000)
    mixed = len(a.kinds("vector_mixed"))
    until(lambda: len(a.kinds("vector_mixed")) > mixed + 5)
    assert a.ended is b.ended is None


def test_traffic_is_written_after_rounds_and_before_the_last_word(
    start: Callable[..., list[Node]], until: Until
) -> None:
    """Each record holds what came since the last, so their sum is what was sent in all. A round in
    which nothing came or went has none."""
    nodes = start("ab", iterations=20)
    until(lambda: all(node.ended is not None for node in nodes))
    for node in nodes:
        kinds = [record.kind for record in node.log]
        places = [place for place, kind in enumerate(kinds) if kind == "traffic"]
        neighbors = [(kinds[place - 1], kinds[place + 1]) for place in places]
        assert all(a == "round_finished" or b == "node_stopped" for a, b in neighbors)
        mixes = [told["sent"]["mix"] for told in node.kinds("traffic") if "mix" in told["sent"]]
        messages = sum(tally.messages for tally in mixes)
        assert 0 < messages <= len(node.kinds("vector_sent"))
        assert sum(tally.payload_bytes for tally in mixes) == messages * 14_000
        assert "hello" in node.kinds("traffic")[0]["sent"]
