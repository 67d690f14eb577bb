"""Errors are one line with what, what came, where and a hint, and survive pickling."""

import pickle

import pytest

from p2pgan.errors import (
    CheckFailed,
    CheckpointError,
    ConfigError,
    DataError,
    LocalProtocolError,
    OverlayError,
    P2PGanError,
    ProtocolError,
    RankLostError,
    RecordError,
    RemoteProtocolError,
    TransportError,
    nearest,
    unknown_name,
)

KINDS = [
    CheckFailed,
    CheckpointError,
    ConfigError,
    DataError,
    LocalProtocolError,
    OverlayError,
    ProtocolError,
    RankLostError,
    RecordError,
    RemoteProtocolError,
    TransportError,
]


def test_says_what_came_where_and_what_to_do() -> None:
    error = ConfigError(expected="a number", got="`x`", at="--seed", hint="leave it out")
    assert str(error) == "expected a number, got `x` - at --seed (hint: leave it out)"


def test_without_a_hint_says_nothing_of_one() -> None:
    assert str(DataError(expected="data", got="none", at="a.gz")) == (
        "expected data, got none - at a.gz"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_caught_at_the_command_line(kind: type[P2PGanError]) -> None:
    with pytest.raises(P2PGanError, match="expected a, got b - at c"):
        raise kind(expected="a", got="b", at="c")


@pytest.mark.parametrize("kind", KINDS)
def test_pickling_keeps_the_fields(kind: type[P2PGanError]) -> None:
    """Errors travel between the supervisor's processes."""
    error = kind(expected="a", got="b", at="c", hint="d")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.expected, copy.got, copy.at, copy.hint) == ("a", "b", "c", "d")


def test_protocol_faults_are_of_one_family() -> None:
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)


def test_an_unknown_name_comes_with_the_nearest() -> None:
    error = unknown_name(OverlayError, "an overlay", "rign", ["star", "ring"], "--overlay")
    assert type(error) is OverlayError
    assert str(error) == (
        "expected an overlay (`star`, `ring`), got `rign` - at --overlay"
        " (hint: did you mean `ring`?)"
    )


def test_a_name_like_no_other_has_no_hint() -> None:
    assert unknown_name(ConfigError, "a loss", "zzz", ["hinge"], "here").hint == ""
    assert nearest("zzz", ["hinge"]) == ""


def test_long_lists_are_cut() -> None:
    error = unknown_name(ConfigError, "a name", "n99", (f"n{i}" for i in range(30)), "here")
    assert "`n19`, …" in str(error)
    assert "`n20`" not in str(error)
    assert "\n" not in str(error)
