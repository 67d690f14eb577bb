"""Which numbers have come: against a plain set."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from p2pgan.protocol.windows import OVERTAKEN, REPEATED, SPAN, Met, Window

numbers = st.one_of(
    st.integers(0, 40),
    st.integers(SPAN - 5, SPAN + 40),
    st.integers(2 * SPAN, 2 * SPAN + 5),
    st.just(10**19),
)


@given(st.lists(numbers, max_size=60))
def test_a_window_says_what_a_set_would(asked: list[int]) -> None:
    window, met, latest = Window("B.1."), {0}, 0
    for number in asked:
        expected = ""
        if number in met or number <= latest - SPAN:
            expected = REPEATED
        elif number < latest:
            expected = OVERTAKEN
        assert window.has(number) == (expected == REPEATED)
        assert window.meet(number) == expected
        met.add(number)
        latest = max(latest, number)
        assert window.latest == latest
        assert window._met < 1 << SPAN
    kept = msgspec.msgpack.encode(window.met)
    assert Window.of(msgspec.msgpack.decode(kept, type=Met)) == window
