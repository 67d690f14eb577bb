"""The benchmark of virtual time plays what it is asked for."""

from tools.bench_virtual import play


def test_events_and_seconds_are_counted() -> None:
    events, took_s = play(nodes=6, seconds=100.0, overlay="ring", round_s=20.0)
    again, _ = play(nodes=6, seconds=100.0, overlay="ring", round_s=20.0)
    assert events == again
    assert events > 6 * 5 * 3, "a training, a vector and its acknowledgment a round, at least"
    assert took_s > 0
