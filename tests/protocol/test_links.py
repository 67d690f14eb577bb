"""The rules of the handshake, as a table."""

import pytest

from p2pgan.protocol.links import (
    MAX_FAULTS,
    Identity,
    Link,
    Outward,
    check_hello,
    check_welcome,
)
from p2pgan.protocol.messages import PROTOCOL_VERSION, Hello, Welcome

US = Identity(node="A", run="run", architecture="same", boot="our boot")


def hello(**changes: object) -> Hello:
    fields = {"protocol": PROTOCOL_VERSION, "run": "run", "node": "B", "architecture": "same"}
    return Hello(clock=0, **{**fields, "boot": "new", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outward", "boot", "faults", "code"),
    [
        (Outward.DOWN, None, 0, None),
        (Outward.DOWN, "old", 0, None),
        (Outward.GREETED, "old", 0, None),
        (Outward.REFUSED, "old", 0, None),
        (Outward.READY, "new", 0, None),
        (Outward.READY, "old", 0, "identity_taken"),
        (Outward.DOWN, "new", MAX_FAULTS, "faults"),
        (Outward.DOWN, "old", MAX_FAULTS, None),
    ],
)
def test_whether_an_id_is_free(
    outward: Outward, boot: str | None, faults: int, code: str | None
) -> None:
    """Taken only while the overlay's address is answered by a welcome of another boot."""
    link = Link(peer="B", outward=outward, boot=boot, faults=faults)
    refusal = check_hello(hello(), US, link)
    assert (refusal.code if refusal else None) == code


def test_disagreements_come_before_identities() -> None:
    """A node of another run is told so, whatever its name is."""
    refusal = check_hello(hello(node="A", run="other"), US, None)
    assert refusal is not None
    assert refusal.code == "run"
    assert "`run`" in refusal.text
    assert "`other`" in refusal.text


def test_the_address_has_to_lead_to_its_node() -> None:
    link = Link(peer="B")
    assert check_welcome(Welcome(clock=0, node="B", boot="x", round=0), link) is None
    refusal = check_welcome(Welcome(clock=0, node="C", boot="x", round=0), link)
    assert refusal is not None
    assert refusal.code == "wrong_node"


def test_a_new_boot_is_a_new_start() -> None:
    link = Link(peer="B", boot="old", left=True, faults=3)
    link.meet("old")
    assert (link.left, link.faults) == (True, 3)
    link.meet("new")
    assert (link.left, link.faults, link.boot) == (False, 0, "new")


def test_who_has_left_is_not_ready() -> None:
    link = Link(peer="B", outward=Outward.READY)
    assert link.is_ready
    link.left = True
    assert not link.is_ready


@pytest.mark.parametrize(
    ("outward", "route", "left", "is_settled"),
    [
        (Outward.DOWN, None, False, False),
        (Outward.GREETED, b"1", False, False),
        (Outward.READY, None, False, False),
        (Outward.READY, b"1", False, True),
        (Outward.REFUSED, None, False, True),
        (Outward.DOWN, None, True, True),
    ],
)
def test_a_neighbor_is_waited_for_until_vectors_go_both_ways(
    outward: Outward, route: bytes | None, left: bool, is_settled: bool
) -> None:
    """Else a node would train alone while its neighbors still try to reach it."""
    assert Link(peer="B", outward=outward, route=route, left=left).is_settled == is_settled
