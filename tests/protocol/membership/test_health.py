"""Lifeguard's score."""

from p2pgan.protocol.membership.health import HEALTH_MAX, Health


def test_the_score_stays_within_its_bounds() -> None:
    health = Health()
    health.better()
    assert (health.score, health.factor) == (0, 1)
    for _ in range(20):
        health.worse()
    assert (health.score, health.factor) == (HEALTH_MAX, HEALTH_MAX + 1)
    health.better()
    assert health.score == HEALTH_MAX - 1
