"""Many seeds: what is told of one that fails, whatever the reason."""

import pytest

from p2pgan.errors import CheckFailed
from p2pgan.sim.virtual.trial import TrialResult
from tools import dst

RESULT = TrialResult(trace="0", events=7, virtual_s=1.0)


def check_fails(seed: int, nodes: int, *, watched: bool) -> TrialResult:
    error = CheckFailed(expected="this", got="that", at="node `3`", hint="again")
    error.story = "its story"
    raise error


def test_a_seed_that_passes_has_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dst, "trial", lambda seed, nodes, watched: RESULT)
    assert dst.attempt(5, 4) == dst.Outcome(5, RESULT, "")


def test_a_check_that_fails_tells_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dst, "trial", check_fails)
    outcome = dst.attempt(5, 4)
    assert (outcome.seed, outcome.result) == (5, None)
    assert "expected this, got that" in outcome.told
    assert outcome.told.endswith("its story")


@pytest.mark.parametrize("error", [KeyError("a"), AssertionError("time went back"), OSError(28)])
def test_any_other_error_names_its_seed_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(seed: int, nodes: int, *, watched: bool) -> TrialResult:
        raise error

    monkeypatch.setattr(dst, "trial", fails)
    outcome = dst.attempt(5, 4)
    assert (outcome.seed, outcome.result) == (5, None)
    assert type(error).__name__ in outcome.told
    assert "in fails" in outcome.told, "where it was raised"
    assert "python -m tools.dst --seed 5 --nodes 4" in outcome.told
