"""Where discriminators are, by what workers say, in any order of words and orders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.protocol import instructions as do
from p2pgan.protocol.core import Core, NodeSettings
from p2pgan.protocol.links import Identity
from p2pgan.protocol.messages import Expect, Message, Move, Release
from p2pgan.protocol.placement import Placement

WORKERS = ("a", "b", "c")


@pytest.fixture
def core() -> Core:
    return core_of()


def core_of() -> Core:
    identity = Identity(node="us", run="run", architecture="same", boot="boot-of-ours")
    return Core(NodeSettings(identity=identity, neighbors=WORKERS, iterations=1, exchange_every=1))


@pytest.fixture
def placement(core: Core) -> Placement:
    """a has 0, b has 1, c is idle."""
    made = Placement(core, 2)
    for worker, slot in (("a", 0), ("b", 1), ("c", None)):
        made.told(worker, slot, 0)
    return made


def sent(core: Core) -> list[tuple[str, Message]]:
    return [(i.peer, i.message) for i in core.take() if isinstance(i, do.Send)]


def test_a_discriminator_is_where_its_worker_says(placement: Placement) -> None:
    assert placement.places() == {0: "a", 1: "b"}
    assert placement.lost() == []
    assert placement.is_idle("c")
    placement.gone("a")
    assert placement.lost() == [0]
    assert not placement.is_idle("a"), "nobody knows"


def test_an_assignment_is_done_when_its_worker_says_so(core: Core, placement: Placement) -> None:
    placement.gone("a")
    placement.assign(0, "c", is_awaited=True)
    assert placement.is_awaited()
    assert not placement.is_idle("c")
    assert placement.told("c", None, 0) is None, "it has not read the order"
    assert "c" not in placement.holding
    (_, order) = sent(core)[-1]
    done = placement.told("c", 0, order.order)  # type: ignore[union-attr]
    assert done is not None
    assert placement.places() == {0: "c", 1: "b"}
    assert not placement.errands


def test_everybody_is_told_to_send_before_it_is_told_to_take(
    core: Core, placement: Placement
) -> None:
    placement.move({0: "b", 1: "a"}, round=4)
    orders = sent(core)
    assert [(peer, type(message)) for peer, message in orders] == [
        ("a", Move),
        ("b", Move),
        ("b", Expect),
        ("a", Expect),
    ]
    assert placement.lost() == []
    number = orders[-1][1].order  # type: ignore[union-attr]
    placement.told("b", 0, number)
    placement.told("a", 1, number)
    assert placement.places() == {0: "b", 1: "a"}
    assert not placement.is_awaited()


def test_who_stays_gets_no_order(core: Core, placement: Placement) -> None:
    placement.move({0: "a", 1: "b"}, round=1)
    assert sent(core) == []


def test_a_move_that_could_not_be_sent_is_taken_back(core: Core, placement: Placement) -> None:
    placement.move({0: "c", 1: "b"}, round=1)
    number = sent(core)[-1][1].order  # type: ignore[union-attr]
    assert placement.told("a", 0, number) is None
    assert placement.places() == {0: "a", 1: "b"}
    assert [(peer, type(message)) for peer, message in sent(core)] == [("c", Release)]


def test_a_copy_leaves_its_source_in_its_place(core: Core, placement: Placement) -> None:
    placement.gone("b")
    placement.copy(0, 1, "c", round=2)
    assert placement.places() == {0: "a"}
    assert not placement.is_awaited()
    (holder, move), (target, _) = sent(core)
    assert (holder, target) == ("a", "c")
    assert isinstance(move, Move)
    assert move.keep
    assert move.slot == 1


def test_what_is_not_carried_out_is_lost_and_both_ends_are_released(
    core: Core, placement: Placement
) -> None:
    placement.move({0: "c", 1: "b"}, round=1)
    sent(core)
    placement.take_back(placement.errands[0])
    assert placement.lost() == [0]
    assert [(peer, type(message)) for peer, message in sent(core)] == [
        ("c", Release),
        ("a", Release),
    ]


def test_a_move_that_is_left_alone_may_still_be_done(core: Core, placement: Placement) -> None:
    placement.move({0: "c", 1: "b"}, round=1)
    number = sent(core)[-1][1].order  # type: ignore[union-attr]
    placement.leave_alone(placement.errands[0])
    assert not placement.is_awaited()
    assert placement.lost() == []
    assert sent(core) == []
    placement.told("c", 0, number)
    assert placement.places() == {0: "c", 1: "b"}


def test_a_discriminator_that_has_been_replaced_is_of_no_use(
    core: Core, placement: Placement
) -> None:
    placement.told("c", 0, 0)
    assert placement.places() == {0: "a", 1: "b"}
    assert [(peer, type(message)) for peer, message in sent(core)] == [("c", Release)]


def test_after_a_lost_connection_any_word_counts(core: Core, placement: Placement) -> None:
    placement.release("a")
    placement.told("a", 0, 0)
    assert placement.lost() == [0]
    placement.gone("a")
    placement.told("a", 0, 0)
    assert placement.places() == {0: "a", 1: "b"}


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["told", "gone", "met", "release", "assign", "copy", "move", "back", "leave"]
        ),
        st.sampled_from(WORKERS),
        st.sampled_from([None, 0, 1]),
        st.integers(0, 12),
    ),
    max_size=40,
)


@given(steps)
def test_no_word_and_no_order_of_words_makes_a_contradiction(
    steps: list[tuple[str, str, int | None, int]],
) -> None:
    placement = Placement(core_of(), 2)
    for kind, worker, slot, number in steps:
        lost, places = placement.lost(), placement.places()
        if kind == "told":
            placement.told(worker, slot, number)
        elif kind in ("gone", "met", "release"):
            getattr(placement, kind)(worker)
        elif kind == "assign" and slot in lost and placement.is_idle(worker):
            placement.assign(slot, worker, is_awaited=True)
        elif kind == "copy" and lost and places and placement.is_idle(worker):
            placement.copy(min(places), lost[0], worker, round=0)
        elif kind == "move" and slot in places and placement.is_idle(worker):
            placement.move({**places, slot: worker}, round=0)
        elif kind == "back" and placement.errands:
            placement.take_back(next(iter(placement.errands.values())))
        elif kind == "leave" and placement.errands:
            placement.leave_alone(next(iter(placement.errands.values())))
        placement.validate()
