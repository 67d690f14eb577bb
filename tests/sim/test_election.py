"""The last step in lockstep: what the nodes hold after it, and what the log says of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from p2pgan.config import ExchangeConfig, TrainConfig
from p2pgan.experiment import Experiment
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.inspect.summary import summarise
from p2pgan.inspect.tables import summary_text
from p2pgan.mixing.agreement import JUDGING_ROUNDS, WORST, Book, Vote, merits
from p2pgan.record.reader import read
from p2pgan.record.schema import (
    Agreed,
    Scores,
    VectorDropped,
    VectorJudged,
    VectorMixed,
    VectorReceived,
    VectorSent,
)
from p2pgan.sim.lockstep import Lockstep
from p2pgan.sim.run import Finished
from p2pgan.types import NETS

Simulate = Callable[..., Finished]

PAIR = model("mlp-digits")
EMA = TrainConfig(ema=0.9)


def bodies(finished: Finished, kind: type[Any]) -> list[tuple[str, Any]]:
    records = read(finished.directory.events)
    return [(record.node, record.body) for record in records if type(record.body) is kind]


def vectors(finished: Finished, node: int) -> dict[str, torch.Tensor]:
    saved = load(finished.directory.checkpoint(str(node)), PAIR).vectors
    return {str(net): saved[net] for net in NETS}


@pytest.mark.parametrize("algorithm", ["gossip", "gossip-ind", "standalone"])
@pytest.mark.parametrize("draw", ["permutation", "push"])
def test_all_hold_one_pair_of_the_training(simulated: Simulate, algorithm: str, draw: str) -> None:
    exchange = ExchangeConfig(draw=draw)  # type: ignore[arg-type]
    settings: dict[str, Any] = {"algorithm": algorithm, "exchange": exchange, "nodes": 4}
    plain = simulated("plain", **settings)
    final = simulated("final", final="agree", **settings)
    told = final.summary["final"]
    assert (told["step"], told["agreed"]) == ("agree", 4)
    for node in range(4):
        for net in NETS:
            chosen = vectors(plain, int(told["origin"]))[net]
            assert torch.equal(vectors(final, node)[net], chosen)
    assert told["before"]["scores"] == plain.summary["scores"]
    assert told["before"]["consensus"] == plain.summary["consensus"]
    assert told["after"] == {key: final.summary[key] for key in ("scores", "consensus", "quality")}
    assert final.summary["consensus"] == {"g": 0, "d": 0}
    assert final.summary["rounds"] == plain.summary["rounds"]


def test_the_winner_is_the_best_by_all_votes(simulated: Simulate) -> None:
    final = simulated(nodes=4, final="agree")
    votes = Book()
    for judge, body in bodies(final, VectorJudged):
        assert judge != body.peer
        assert 0 <= body.score < WORST
        votes.add(Vote(body.peer, judge, body.score))
    best = min(merits(votes).values())
    agreed = bodies(final, Agreed)
    assert [node for node, _ in agreed] == ["0", "1", "2", "3"]
    for _, body in agreed:
        assert (body.origin, body.votes, body.merit) == (best.origin, 3, best.score)


def test_every_pair_ends_somewhere_and_is_counted(simulated: Simulate) -> None:
    final = simulated(nodes=4, final="agree", exchange=ExchangeConfig(draw="push", fanout=2))
    sent = [body for _, body in bodies(final, VectorSent)]
    ends = [
        body.exchange
        for kind in (VectorJudged, VectorMixed, VectorDropped)
        for _, body in bodies(final, kind)
    ]
    received = [body.exchange for _, body in bodies(final, VectorReceived)]
    assert len({body.exchange for body in sent}) == len(sent)
    assert sorted(body.exchange for body in sent) == sorted(ends) == sorted(received)
    assert final.summary["traffic"]["messages"] == len(sent)
    assert final.summary["traffic"]["bytes_total"] == sum(body.bytes for body in sent)
    rounds = final.summary["rounds"]
    assert max(body.round for body in sent) == rounds + final.summary["final"]["rounds"]
    adopted = [body for _, body in bodies(final, VectorMixed) if body.round > rounds]
    assert adopted
    assert {body.weight for body in adopted} == {1.0}
    logged = summarise(final.directory)
    assert logged.unaccounted == []
    assert logged.judged == len(bodies(final, VectorJudged)) > 0
    for node in logged.nodes:
        row = node.traffic
        assert row.received == row.mixed + row.judged + row.dropped_in
    assert f" {logged.judged} judged, " in summary_text(logged)


def test_books_stay_at_home_while_pairs_are_judged(
    simulated: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between daemons: counting begins when all votes are given."""
    judges: dict[int, set[str]] = {}

    def look(simulation: Lockstep) -> None:
        judges[simulation.last_rounds] = {vote.judge for vote in books[0]} if books else set()

    books: list[Book] = []
    init = Book.__init__

    def remember(self: Book, *args: Any) -> None:
        init(self, *args)
        books.append(self)

    monkeypatch.setattr(Book, "__init__", remember)
    simulated(nodes=7, final="agree", on_round=look)
    assert judges[JUDGING_ROUNDS] == {"0"}
    assert len(judges[max(judges)]) == 7


def test_scores_after_the_step_are_the_last_but_no_point_of_the_curve(simulated: Simulate) -> None:
    final = simulated(final="agree")
    marks = [body.after for _, body in bodies(final, Scores)]
    assert marks == [None] * 6 + ["agree"] * 3
    logged = summarise(final.directory)
    assert logged.scores["fid"]["mean"] == final.summary["scores"]["fid"]["mean"]
    before = final.summary["final"]["before"]["scores"]["fid"]["mean"]
    assert logged.curves.scores[-1].fid.mean == before != logged.scores["fid"]["mean"]


@pytest.mark.parametrize("algorithm", ["gossip", "gossip-ind"])
def test_averaging_ends_nearly_equal(simulated: Simulate, algorithm: str) -> None:
    final = simulated(nodes=4, algorithm=algorithm, final="average")
    told = final.summary["final"]
    assert (told["step"], told["agreed"], told["origin"]) == ("average", None, None)
    assert told["rounds"] > 0
    for net in ("g", "d"):
        assert told["after"]["consensus"][net] < told["before"]["consensus"][net] / 100
    sent = [body.exchange for _, body in bodies(final, VectorSent)]
    mixed = [body.exchange for _, body in bodies(final, VectorMixed)]
    assert sorted(sent) == sorted(set(mixed))


@pytest.mark.parametrize("step", ["agree", "average"])
@pytest.mark.parametrize(("algorithm", "nodes"), [("fl-gan", 3), ("centralised", 3), ("gossip", 1)])
def test_where_all_are_equal_nothing_is_done(
    simulated: Simulate, step: str, algorithm: str, nodes: int
) -> None:
    plain = simulated("plain", algorithm=algorithm, nodes=nodes)
    final = simulated("final", algorithm=algorithm, nodes=nodes, final=step)
    told = final.summary["final"]
    assert told["rounds"] == 0
    assert told["before"] == told["after"]
    assert final.summary["scores"] == plain.summary["scores"]
    assert final.summary["traffic"] == plain.summary["traffic"]


@pytest.mark.parametrize(("algorithm", "nodes"), [("centralised", 3), ("gossip", 1)])
def test_a_step_that_is_not_taken_publishes_nothing(
    simulated: Simulate, algorithm: str, nodes: int
) -> None:
    settings: dict[str, Any] = {"algorithm": algorithm, "nodes": nodes, "train": EMA}
    plain, final = simulated("plain", **settings), simulated("final", final="agree", **settings)
    assert final.summary["final"]["rounds"] == 0
    assert torch.equal(vectors(plain, 0)["G"], vectors(final, 0)["G"])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("step", ["agree", "average"])
def test_running_means_differ_where_a_coordinator_makes_all_else_equal(
    simulated: Simulate, room: Callable[[int], Any], step: str, count: int
) -> None:
    settings: dict[str, Any] = {"algorithm": "fl-gan", "train": EMA, "nodes": 4}
    plain = simulated("plain", **settings)
    final = room(count).run(lambda ranks: simulated("f", final=step, ranks=ranks, **settings))[0]
    told = final.summary["final"]
    assert told["rounds"] > 0
    assert told["before"]["scores"]["fid"] == pytest.approx(
        plain.summary["scores"]["fid"], rel=0.1 * (count - 1)
    )
    assert told["before"]["consensus"]["g"] > 1e-3 > plain.summary["consensus"]["g"]
    assert told["after"]["consensus"] == pytest.approx({"g": 0, "d": 0}, abs=1e-5)
    saved = [load(final.directory.checkpoint(str(node)), PAIR) for node in range(4)]
    for pair in saved:
        assert pair.ema is not None
        assert torch.equal(pair.ema, pair.vectors["G"])
        assert torch.equal(pair.vectors["G"], saved[0].vectors["G"])
    if step == "agree":
        assert told["agreed"] == 4
        mean = load(plain.directory.checkpoint(told["origin"]), PAIR).ema
        torch.testing.assert_close(saved[0].ema, mean, rtol=0, atol=0.01 * (count - 1))
    else:
        assert told["rounds"] == 1
        # 4 rounds of training, and one of the step
        assert final.summary["traffic"]["messages"] == 5 * 2 * 4


def test_a_failure_in_the_step_loses_no_training(
    simulated: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> float:
        raise MemoryError

    plain = simulated("plain")
    monkeypatch.setattr(Experiment, "judge", fail)
    with pytest.raises(MemoryError):
        simulated("final", final="agree")
    for node in range(3):
        saved = load(tmp_path / "final" / "nodes" / str(node) / "checkpoint.safetensors", PAIR)
        assert torch.equal(saved.vectors["G"], vectors(plain, node)["G"])


def test_an_interrupted_averaging_is_scored_as_it_is_saved(simulated: Simulate) -> None:
    def interrupt(simulation: Lockstep) -> None:
        if simulation.last_rounds == 2:
            raise KeyboardInterrupt

    final = simulated(on_round=interrupt, final="average", train=EMA)
    for node in range(3):
        saved = load(final.directory.checkpoint(str(node)), PAIR)
        assert saved.ema is not None
        assert torch.equal(saved.ema, saved.vectors["G"])


@pytest.mark.parametrize("step", ["agree", "average"])
def test_several_ranks_take_the_same_step(
    simulated: Simulate, room: Callable[[int], Any], step: str
) -> None:
    settings: dict[str, Any] = {
        "nodes": 5,
        "final": step,
        "exchange": ExchangeConfig(draw="push", fanout=2),
    }
    alone = simulated("alone", **settings)
    shared = room(2).run(lambda ranks: simulated("shared", ranks=ranks, **settings))[0]
    assert shared.summary["final"]["rounds"] == alone.summary["final"]["rounds"]
    assert shared.summary["final"]["origin"] == alone.summary["final"]["origin"]
    assert shared.summary["traffic"] == alone.summary["traffic"]
    for node in range(5):
        for net in NETS:
            torch.testing.assert_close(
                vectors(shared, node)[net], vectors(alone, node)[net], rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("step", ["agree", "average"])
def test_an_interrupt_amid_the_step_keeps_what_there_is(simulated: Simulate, step: str) -> None:
    def interrupt(simulation: Lockstep) -> None:
        if simulation.last_rounds == 2:
            raise KeyboardInterrupt

    plain = simulated("plain")
    final = simulated("final", on_round=interrupt, final=step)
    assert final.summary["interrupted"]
    assert final.summary["final"] is None
    marks = [body.after for _, body in bodies(final, Scores)]
    assert marks == [None] * 6 + (["average"] * 3 if step == "average" else [])
    equal = [torch.equal(vectors(final, n)["G"], vectors(plain, n)["G"]) for n in range(3)]
    assert equal == [step == "agree"] * 3
    assert final.summary["iterations"] == plain.summary["iterations"]


def test_a_diverged_node_takes_over_from_the_others(simulated: Simulate) -> None:
    def diverge(simulation: Lockstep) -> None:
        if simulation.round == simulation.experiment.rounds and not simulation.last_rounds:
            simulation.cohort.vectors["G"][1] = float("nan")

    final = simulated(algorithm="standalone", nodes=4, final="agree", on_round=diverge)
    assert final.summary["final"]["origin"] != "1"
    assert vectors(final, 1)["G"].isfinite().all()
    worst = [body.score for _, body in bodies(final, VectorJudged) if body.peer == "1"]
    assert set(worst) == {WORST}
