"""Views, memory, mixtures and checkpoints: what is not as it should be is found out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

import p2pgan.node.work
from p2pgan.errors import CheckFailed
from p2pgan.mixing.rules import Incoming, merge
from p2pgan.node.outgoing import queued
from p2pgan.node.tallies import Tallies
from p2pgan.protocol import events as ev
from p2pgan.protocol.exchanges import Exchanges
from p2pgan.protocol.instructions import SendVector
from p2pgan.protocol.links import Outward
from p2pgan.sim.virtual.invariants.members import HEALED_S
from tests.sim.virtual.trials import Recorded

CALM = {"duration_s": 600.0, "calm_s": 590.0}


def test_a_peer_that_is_there_is_ready(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, virtual=CALM).until(HEALED_S + 50.0)
    machine = recorded.world.members["1"].machine
    assert machine is not None
    machine._neighborhood.links["2"].outward = Outward.GREETED
    with pytest.raises(CheckFailed, match="`2` to be ready") as caught:
        recorded.checkers._look()
    assert caught.value.got == "`greeted`"


def test_a_peer_that_is_gone_is_not_ready(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, virtual=CALM).until(25.0)
    recorded.world._crash("2", returns=False)
    recorded.checkers._weather.shifted(25.0, "2")
    recorded.until(HEALED_S + 50.0)
    machine = recorded.world.members["1"].machine
    assert machine is not None
    machine._neighborhood.links["2"].outward = Outward.READY
    with pytest.raises(CheckFailed, match="`2` to be gone"):
        recorded.checkers._look()


def test_memory_of_vectors_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(tmp_path).until(15.0)
    monkeypatch.setattr(Exchanges, "held_bytes", lambda self: 10_000)
    with pytest.raises(CheckFailed, match="bytes of vectors of 2 neighbors"):
        recorded.until(40.0)


@pytest.mark.parametrize("what", ["messages", "vectors", "messages on their way"])
def test_queues_are_bounded(tmp_path: Path, what: str) -> None:
    recorded = Recorded(tmp_path).until(15.0)
    connection = recorded.world.network._connections["1", "2"]
    frames: list[bytes | memoryview] = [b"x"]
    if what == "messages on their way":
        assert connection.session is not None
        connection.session.back.in_flight = 66
    elif what == "messages":
        connection.outbox.items.extend([frames] * 1089)
    else:
        order = SendVector(peer="2", exchange="1.00000001.9", nets=("G",), round=1, clock=1)
        vector = queued(order, bytes(4), 1024, Tallies())
        connection.outbox.items.extend([vector] * 7)
    with pytest.raises(CheckFailed, match=f"at most [0-9]+ {what} to `2`"):
        recorded.checkers._look()


def test_a_mixture_is_the_stated_one(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path).until(25.0)
    moment = next(m for m in recorded.moments if isinstance(m.event, ev.MixingDone))
    assert isinstance(moment.event, ev.MixingDone)
    begun = recorded.moments[recorded.moments.index(moment) - 1]
    recorded.checkers.watch(replace(begun, instructions=begun.instructions[-1:]))
    with pytest.raises(CheckFailed, match="vectors of G with weights"):
        recorded.checkers.watch(moment)


def unweighted(own_P: Tensor, incoming: list[Incoming], own_weight: float) -> list[float]:
    """Everything counts the same."""
    del own_weight
    return merge(own_P, [came._replace(weight=1.0) for came in incoming])


def without_bases(own_P: Tensor, incoming: list[Incoming], own_weight: float) -> list[float]:
    """Half of what came is added, not of the difference."""
    for came in incoming:
        assert came.base_P is not None
        own_P.add_(came.vector_P, alpha=0.5)
    del own_weight
    return [0.5] * len(incoming)


@pytest.mark.parametrize(
    ("algorithm", "wrong", "complaint"),
    [
        ("gosgd", unweighted, "a share of"),
        ("push-sum", unweighted, "a share of"),
        ("ad-psgd", without_bases, "the mean of 1 vectors of G"),
    ],
)
def test_mixtures_by_weight_and_by_difference(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    wrong: Callable[..., list[float]],
    complaint: str,
) -> None:
    Recorded(tmp_path, algorithm=algorithm).until(60.0)
    monkeypatch.setattr(p2pgan.node.work, "merge", wrong)
    with pytest.raises(CheckFailed, match=complaint):
        Recorded(tmp_path, algorithm=algorithm).until(60.0)


def test_a_checkpoint_can_be_loaded(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path).until(45.0)
    saved = next(m for m in recorded.moments if isinstance(m.event, ev.SavingDone))
    assert isinstance(saved.event, ev.SavingDone)
    path = Path(saved.event.path)
    recorded.checkers.watch(replace(saved, instructions=()))
    path.write_bytes(path.read_bytes()[:-1])
    for event in (saved.event, ev.SavingFailed(text="full"), ev.Started()):
        with pytest.raises(CheckFailed, match="a checkpoint that can be loaded"):
            recorded.checkers.watch(replace(saved, event=event, instructions=()))
