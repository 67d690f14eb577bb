"""A charter is told in parts, and read as a whole or not at all."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.errors import RemoteProtocolError
from p2pgan.protocol.charter import Charter, answer, read
from p2pgan.protocol.messages import MAX_INVITATION_BYTES, Inquire, Invitation, Member
from p2pgan.protocol.wire import decode, encode


def charter(overlay: str = "{}") -> Charter:
    members = (Member(node="A", address="tcp://10.0.0.1:5550"), Member(node="B", since=1))
    return Charter(run="run", config="seed = 1", overlay=overlay, members=members)


def member(*charters: bytes) -> Callable[[Inquire], Invitation]:
    """Somebody whose charter is another one each time, the last for ever; over the wire."""
    left = list(charters)

    def say(inquire: Inquire) -> Invitation:
        asked, _ = decode(encode(inquire))
        assert isinstance(asked, Inquire)
        whole = left.pop(0) if len(left) > 1 else left[0]
        told, _ = decode(encode(answer(asked, whole, 1)))
        assert isinstance(told, Invitation)
        return told

    return say


@given(size=st.integers(0, 3 * MAX_INVITATION_BYTES))
def test_what_is_told_is_read(size: int) -> None:
    told = charter("x" * size)
    assert read(member(told.encode())) == told


def test_parts_of_two_charters_are_never_mixed() -> None:
    first, second = charter("x" * 20_000), charter("y" * 20_000)
    found = read(member(first.encode(), first.encode(), second.encode()))
    assert found == second


def test_a_charter_that_changes_all_the_time_is_given_up() -> None:
    versions = [charter(str(k) * 20_000).encode() for k in range(9)] * 20
    with pytest.raises(RemoteProtocolError, match="changed in between"):
        read(member(*versions))


@pytest.mark.parametrize("rubbish", [b"", b"\xc1", b"\x81\xa3run\xa1x", b"\x93" * 100])
def test_rubbish_is_no_charter(rubbish: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="expected a run"):
        read(member(rubbish))


def test_another_version_is_told_in_one_line() -> None:
    def say(inquire: Inquire) -> Invitation:
        told = answer(inquire, charter().encode(), 1)
        return Invitation(clock=1, protocol=9, digest=told.digest, part=0, parts=1, data=told.data)

    with pytest.raises(RemoteProtocolError, match="protocol"):
        read(say)


def test_a_part_that_there_is_not_is_the_last_one() -> None:
    told = answer(Inquire(clock=0, protocol=5, part=7), charter().encode(), 1)
    assert (told.part, told.parts) == (0, 1)


def test_an_endless_charter_is_refused_before_it_is_read() -> None:
    def say(inquire: Inquire) -> Invitation:
        return Invitation(clock=1, protocol=5, digest=b"", part=inquire.part, parts=2**40, data=b"")

    with pytest.raises(RemoteProtocolError, match="at most"):
        read(say)
