"""Records as sentences, and the logs of many nodes as one stream of lines."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from p2pgan.inspect.words import (
    LINES_AT_ONCE,
    LINES_PER_S,
    PROGRESS_S,
    REFUSALS,
    MergedView,
    Teller,
    words,
)
from p2pgan.protocol.messages import RefusalCode
from p2pgan.record.schema import (
    AnyBody,
    PeerJoined,
    PeerRefused,
    Record,
    RoundFinished,
    Unknown,
    VectorSent,
    kind_of,
)

VECTOR = {"peer": "1", "round": 2, "nets": ["G"], "exchange": "x", "bytes": 4}


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def record(body: AnyBody | Unknown, node: str = "n3", kind: str = "") -> Record:
    return Record(
        schema="1.0",
        kind=kind or kind_of(type(body)),  # type: ignore[arg-type]
        run="r",
        node=node,
        seq=0,
        wall=datetime(2031, 5, 6, 7, 8, 9, 12345, tzinfo=UTC),
        time_s=1.0,
        clock=0,
        body=body,
    )


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        (
            "run_started",
            {"is_anew": True},
            "warning: no checkpoint to go on from: the run begins anew",
        ),
        ("peer_joined", {"peer": "1"}, "peer `1` joined"),
        ("peer_joined", {"peer": "\x1b[2Jz"}, "peer `\\x1b[2Jz` joined"),
        ("peer_suspected", {"peer": "1"}, "peer `1` suspected: it does not answer"),
        ("peer_suspected", {"peer": "1", "by": "2"}, "it does not answer, says `2`"),
        ("peer_recovered", {"peer": "1", "state": "dead"}, "peer `1` is there after all"),
        ("peer_degraded", {"peer": "1", "is_degraded": True}, "peer `1` is degraded"),
        ("peer_degraded", {"peer": "1", "is_degraded": False}, "peer `1` gets on again"),
        ("node_started", {"pid": 7}, "is up, process 7"),
        ("node_stopped", {"reason": "finished", "iterations": 1}, "after 1 iteration: finished"),
        ("node_degraded", {"is_degraded": True}, "warning: is degraded"),
        ("node_degraded", {"is_degraded": False}, "gets on again"),
        ("peer_lost", {"peer": "1", "reason": "left"}, "peer `1` lost: left"),
        ("peer_lost", {"peer": "1", "reason": "silent"}, "warning: peer `1` lost: silent"),
        ("peer_refused", {"peer": "1", "reason": "run", "by": "us"}, "warning: peer `1` refused:"),
        ("peer_refused", {"peer": "1", "reason": "new", "by": "them"}, "`1` refuses us: new"),
        ("scores", {"round": 2, "iterations": 4, "ms": 3.0}, "4 iterations: FID nan, MS 3.00"),
        ("agreed", {"origin": "4", "votes": 3}, "adopted the pair of `4`"),
        ("overlay_changed", {"nodes": 5, "edges": 1}, "5 nodes and 1 edge now, spectral gap -"),
        ("checkpoint_failed", {"reason": "no room"}, "warning: not saved: no room"),
        ("checkpoint_restored", {"path": "a", "iterations": 2}, "goes on from a, after 2 iter"),
        ("comet_sighted", {"tail_m": 2.5}, "comet_sighted    tail_m=2.5"),
        ("node_bewitched", {"by": "a witch"}, 'node_bewitched   by="a witch"'),
        ("peer_waved", {"peer": "1"}, "peer_waved       peer=1"),
    ],
)
def test_what_matters_is_a_sentence_and_what_nobody_knows_is_shown_plainly(
    kind: str, fields: dict[str, Any], told: str
) -> None:
    line = Teller().tell("a", kind, fields)
    assert line is not None
    assert told in line


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("vector_sent", VECTOR),
        ("traffic", {"round": 1, "sent": {}, "received": {}}),
        ("peer_refused", {"peer": "1", "reason": "leaving", "by": "them"}),
    ],
)
def test_details_are_left_to_the_log(kind: str, fields: dict[str, Any]) -> None:
    assert Teller().tell("a", kind, fields) is None
    assert words(kind, fields)


def test_every_reason_of_a_refusal_has_words() -> None:
    assert set(REFUSALS) == set(get_args(RefusalCode)) - {"leaving"} | {"no_connection"}


def test_progress_is_told_now_and_then_for_each_node() -> None:
    clock = Clock()
    teller = Teller(clock)
    told = []
    for clock.now_s in (0.0, 1.0, PROGRESS_S, PROGRESS_S + 1, 2 * PROGRESS_S):
        for node in "ab":
            fields = {"round": 1, "iterations": clock.now_s}
            told.append(teller.tell(node, "round_finished", fields) is not None)
    assert told == [*[False] * 4, *[True] * 2, *[False] * 2, *[True] * 2]


def test_a_merged_view_names_time_and_node() -> None:
    said: list[str] = []
    sent = VectorSent(peer="1", round=2, nets=["G"], exchange="x", bytes=4)
    MergedView(said.append).show([record(sent), record(PeerJoined(peer="1"))])
    assert said == ["07:08:09.012 n3       peer `1` joined"]


def test_a_merged_view_can_hold_itself_to_warnings() -> None:
    said: list[str] = []
    view = MergedView(said.append, warnings_only=True)
    odd = record(Unknown(raw={"kind": "odd"}), kind="odd")
    refused = record(PeerRefused(peer="1", reason="run", by="us"))
    view.show([record(PeerJoined(peer="1")), refused, odd])
    assert [line.split(maxsplit=2)[2][:12] for line in said] == ["warning: pee"]


def test_a_flood_is_cut_off_and_counted() -> None:
    """A node whose peers come and go all the time must not slow the supervisor down."""
    clock = Clock()
    said: list[str] = []
    view = MergedView(said.append, clock=clock)
    view.show([record(PeerJoined(peer="1"))] * (LINES_AT_ONCE + 7))
    assert len(said) == LINES_AT_ONCE
    clock.now_s = 1.0
    view.show([record(PeerJoined(peer="2"))] * 100)
    assert said[LINES_AT_ONCE].startswith("(7 lines more")
    assert len(said) == LINES_AT_ONCE + LINES_PER_S
    clock.now_s = 1000.0
    view.show([])
    assert said[-1].startswith("(81 lines more")


def test_what_is_left_out_of_progress_takes_no_room() -> None:
    said: list[str] = []
    clock = Clock()
    view = MergedView(said.append, clock=clock)
    view.show([record(RoundFinished(round=1, iterations=1))] * 1000)
    view.show([record(PeerJoined(peer="1"))])
    assert len(said) == 1
