"""Greetings are alarms with a timer of their own."""

from p2pgan.protocol import instructions as do
from p2pgan.protocol.greetings import GREET_TIMER, Greetings
from tests.protocol.test_alarms import new_core


def test_greetings_have_their_own_timer() -> None:
    core = new_core()
    greetings = Greetings(core)
    greetings.put("B", 3.0)
    assert core.take() == [do.SetTimer(name=GREET_TIMER, at_s=3.0)]
    assert greetings.has("B")
