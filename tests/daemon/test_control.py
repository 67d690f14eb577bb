"""Questions to a node, as bytes."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.daemon import control
from p2pgan.errors import RemoteProtocolError
from tests.daemon.statistics import STATISTICS

QUESTIONS: list[control.Request] = [
    control.StatusRequest(),
    control.PeersRequest(),
    control.ScoresRequest(now=True),
    control.PauseRequest(),
    control.ResumeRequest(),
    control.CheckpointRequest(),
    control.StopRequest(),
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_travel(question: control.Request) -> None:
    assert control.decode_request(control.encode(question)) == question


def test_a_refusal_names_what_can_be_asked() -> None:
    refused = control.decode_request(b"{}")
    assert isinstance(refused, control.Refused)
    assert len(control.NAMES) == len(QUESTIONS)
    assert all(f"`{name}`" in refused.error for name in control.NAMES)


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
    assert (answer.peers_ready, answer.peers) == (1, 1), "who has left is no neighbor"
    assert (answer.sent, answer.received, answer.dropped) == (10, 6, 2)
    assert json.loads(control.encode(answer))["type"] == "status"


def test_the_links_one_by_one() -> None:
    answer = control.peers_answer(STATISTICS)
    assert [(row.peer, row.state, row.sent_bytes) for row in answer.peers] == [
        ("B", "ready", 50),
        ("C", "left", 50),
    ]


def test_scores_that_are_not_known_yet_are_left_out() -> None:
    known = control.scores_answer(STATISTICS)
    assert (known.round, known.iterations, known.fid, known.ms) == (2, 40, 9.5, 4.0)
    unknown = control.scores_answer(dataclasses.replace(STATISTICS, scores=None))
    assert unknown == control.ScoresAnswer(node="A")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"nonsense", b'{"type": "refused", "error": "no such question"}']
)
def test_an_answer_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(control, "ask", lambda address, question, timeout_s: body)
    with pytest.raises(RemoteProtocolError, match="tcp://somewhere"):
        control.request("tcp://somewhere", control.StatusRequest())
