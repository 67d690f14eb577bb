"""Questions to a node, as bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.daemon import control
from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol.statistics import PeerMachineStatistics, PeerStatistics

STATISTICS = PeerMachineStatistics(
    node="A", run="run", phase="training", round=3, iterations=60, iterations_total=100, clock=9,
    unacknowledged=1, waiting=2, held_bytes=0, lonely_rounds=0, refusals=0, strangers=0,
    malformed=4, save_problem="no room",
    peers=tuple(
        PeerStatistics(peer=peer, state=state, greeted_us=True, faults=0, sent=5, sent_bytes=50,
                       received=3, received_bytes=30, mixed=2, judged=4, dropped=1)
        for peer, state in (("B", "ready"), ("C", "left"))
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    "question", [control.StatusRequest(), control.PeersRequest(), control.StopRequest()]
)
def test_questions_travel(question: control.Request) -> None:
    assert control.decode_request(control.encode(question)) == question


@given(body=st.binary(max_size=200))
def test_anything_else_is_answered_with_a_refusal(body: bytes) -> None:
    assert isinstance(control.decode_request(body), control.Refused)


def test_deep_nesting_is_refused() -> None:
    body = b'{"type": "status", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert isinstance(control.decode_request(body), control.Refused | control.StatusRequest)


def test_a_status_sums_up_the_links() -> None:
    answer = control.status_answer(
        STATISTICS, pid=1, address="tcp://x:1", uptime_s=2.0, records_lost=3
    )
    assert (answer.save_problem, answer.records_lost) == ("no room", 3)
    assert (answer.peers_ready, answer.peers) == (1, 2)
    assert (answer.sent, answer.received, answer.dropped) == (10, 6, 2)
    assert json.loads(control.encode(answer))["type"] == "status"


def test_the_links_one_by_one() -> None:
    answer = control.peers_answer(STATISTICS)
    assert [(row.peer, row.state, row.sent_bytes) for row in answer.peers] == [
        ("B", "ready", 50),
        ("C", "left", 50),
    ]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"nonsense", b'{"type": "refused", "error": "no such question"}']
)
def test_an_answer_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(control, "ask", lambda address, question, timeout_s: body)
    with pytest.raises(RemoteProtocolError, match="tcp://somewhere"):
        control.request("tcp://somewhere", control.StatusRequest())
