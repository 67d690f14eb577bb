"""Mass: what is lost, comes twice or is kept back is found out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2pgan.errors import CheckFailed
from p2pgan.mixing.merging import SumWeights
from p2pgan.node.work import CohortWork
from p2pgan.protocol import instructions as do
from p2pgan.protocol.exchanges import Exchanges
from p2pgan.protocol.mass import Mass
from tests.sim.virtual.trials import Recorded

Break = Callable[[pytest.MonkeyPatch], None]


def recorded(folder: Path, **changes: Any) -> Recorded:
    """Three nodes that part with mass, and do not train."""
    virtual = {"train": "none"} | changes.pop("virtual", {})
    return Recorded(folder, algorithm="push-sum", virtual=virtual, **changes)


def test_mass_goes_round(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    run.play()
    run.find("vector_mixed")


def too_heavy(patch: pytest.MonkeyPatch) -> None:
    """Whoever merges counts a little more than it should."""
    take = SumWeights.take
    patch.setattr(SumWeights, "take", lambda self, weight: take(self, weight + 1e-6))


def kept_back(patch: pytest.MonkeyPatch) -> None:
    """What has come is not merged."""
    patch.setattr(Mass, "take", lambda self, round: None)


def merged_twice(patch: pytest.MonkeyPatch) -> None:
    """What was merged stays in the inbox."""
    take = Exchanges.take

    def greedy(self: Exchanges, purpose: Any = None) -> Any:
        kept = dict(self.inbox)
        taken = take(self, purpose)
        self.inbox.update(kept)
        return taken

    patch.setattr(Exchanges, "take", greedy)


def forgotten(patch: pytest.MonkeyPatch) -> None:
    """A piece is forgotten as soon as it is sent."""
    doubt = Mass._doubt

    def careless(self: Mass, out: Any, weight: float) -> None:
        doubt(self, out, weight)
        self.core.emit(do.Forget(exchange=out.exchange))

    patch.setattr(Mass, "_doubt", careless)


def superseded(patch: pytest.MonkeyPatch) -> None:
    """What has come is thrown away by who goes on."""

    def drop(self: Mass, arrival: Any) -> None:
        self.exchanges.discard((arrival,), "superseded")

    patch.setattr(Mass, "keep", drop)


def drifting(patch: pytest.MonkeyPatch) -> None:
    """A merged network is moved on its way."""
    mix = CohortWork.mix

    def shaky(self: CohortWork, order: do.Mix) -> Any:
        given = mix(self, order)
        self._own("G").add_(1e-3)
        return given

    patch.setattr(CohortWork, "mix", shaky)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (too_heavy, "a weight of 3.000000000 at all nodes"),
        (kept_back, "a round to mix all pieces"),
        (merged_twice, "a weight of 0.0 for"),
        (forgotten, "a piece to be forgotten once another has it"),
        (superseded, "what is taken of a mass to be mixed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_mass_that_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Break, complaint: str
) -> None:
    broken(monkeypatch)
    with pytest.raises(CheckFailed, match=complaint):
        recorded(tmp_path).until(60.0)


def test_the_weighted_numbers_are_summed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifting(monkeypatch)
    run = recorded(tmp_path)
    # The mixture itself is somebody else's to check.
    monkeypatch.setattr("p2pgan.sim.virtual.invariants.mixtures.TOLERANCE", 1.0)
    with pytest.raises(CheckFailed, match="at all nodes") as caught:
        run.until(60.0)
    assert caught.value.got.startswith("0 more or less")


def test_a_piece_does_not_stay_in_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchanges, "acknowledged", lambda self, peer, ack: None)
    with pytest.raises(CheckFailed, match="an answer about a piece within"):
        recorded(tmp_path, virtual={"duration_s": 900.0, "calm_s": 890.0}).play()


@pytest.mark.parametrize("restart_s", [0.0, 20.0])
def test_what_ends_with_a_life_is_not_missed(tmp_path: Path, restart_s: float) -> None:
    run = recorded(tmp_path, virtual={"crash": 0.01, "restart_s": restart_s, "duration_s": 300.0})
    run.play()
    assert any(moment.incarnation > 1 for moment in run.moments) == (restart_s > 0)
