"""Names and shapes that other people's scripts rely on."""

import math
import types
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.record import schema
from p2pgan.record.reader import read
from p2pgan.record.schema import KINDS, Body, Envelope, RoundFinished, Scores, encode, kind_of
from p2pgan.record.writer import RecordWriter

CONTRACTED = {
    "run_started",
    "node_started",
    "node_stopped",
    "peer_joined",
    "peer_suspected",
    "peer_lost",
    "overlay_changed",
    "vector_sent",
    "vector_received",
    "vector_mixed",
    "vector_dropped",
    "round_finished",
    "scores",
    "consensus",
    "checkpoint_saved",
    "checkpoint_restored",
    "fault_injected",
}

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    types.NoneType: st.none(),
    Any: st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs(kind)
    assert origin in (Union, types.UnionType), kind
    return st.one_of(*(values(argument) for argument in arguments))


def structs(kind: type[Any]) -> st.SearchStrategy[Any]:
    fields = {field.name: values(field.type) for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields)


@given(body=st.one_of(*(structs(body) for body in KINDS.values())), clock=st.integers(0, 2**40))
def test_every_body_comes_back_as_it_was_written(body: Body, clock: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        now = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        with RecordWriter(path, "r", "é", wall=lambda: now, time_s=lambda: 0.25) as writer:
            writer.write(body, clock=clock)
        (record,) = read(path)
        (line,) = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert record.body == body
    assert (record.schema, record.kind, record.run, record.node) == (
        "1.0",
        kind_of(type(body)),
        "r",
        "é",
    )
    assert (record.seq, record.wall, record.time_s, record.clock) == (0, now, 0.25, clock)
    assert record.to_dict() == msgspec.json.decode(line)


def test_all_contracted_kinds_exist() -> None:
    assert set(KINDS) >= CONTRACTED


@pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
def test_no_field_hides_one_of_the_envelope(body: type[Body]) -> None:
    """A line is one object: a body with a `node` of its own would write the key twice."""
    assert not set(body.__struct_fields__) & set(Envelope.__struct_fields__)


@pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
def test_defaults_are_none(body: type[Body]) -> None:
    """Defaults are left out of the line, so any other one would freeze into the schema."""
    for field in msgspec.structs.fields(body):
        assert field.required or field.default is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_and_comes_back_as_none(value: float) -> None:
    line = encode(RoundFinished(round=1, iterations=20, loss_g=value, loss_d=0.5))
    assert b'"loss_g":null' in line
    body = msgspec.json.decode(line, type=RoundFinished)
    assert (body.loss_g, body.loss_d) == (None, 0.5)


def test_numbers_of_numpy_that_pass_for_floats_are_written_as_floats() -> None:
    line = encode(Scores(round=1, iterations=2, fid=np.float64(3.5), ms=1.0, samples=5))
    assert b'"fid":3.5' in line


def test_what_is_no_json_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="does not belong in a record"):
        encode({"path": Path("x")})


def test_the_version_is_the_contracted_one() -> None:
    assert schema.SCHEMA == "1.0"
