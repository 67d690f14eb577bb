"""MD-GAN in lockstep: what the log tells, what is sent, lost, late and saved.

That its networks are those of a textbook loop is shown in `test_split_textbook.py`.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from p2pgan.config import CoordinatorConfig, EngineConfig, RunConfig, ScoreConfig
from p2pgan.config import SplitConfig as Split
from p2pgan.config import TrainConfig as Train
from p2pgan.experiment import prepare
from p2pgan.gan.checkpoint import Checkpoint, load
from p2pgan.gan.layers import Linear
from p2pgan.gan.models import MODELS, Model, model
from p2pgan.gan.networks import Network
from p2pgan.gan.split import kept_values
from p2pgan.mixing.moves import first_places, moved
from p2pgan.parties import Parties
from p2pgan.record import schema
from p2pgan.record.reader import read
from p2pgan.sim.run import Finished
from p2pgan.sim.split import SplitRun
from p2pgan.types import COORDINATOR

Simulate = Callable[..., Finished]

PAIR = model("mlp-digits")
THETA = PAIR.discriminator.size
B, D = PAIR.batch_size, 64
"""Images of a batch, values of an image."""


def bodies(finished: Finished, kind: type[Any]) -> list[tuple[str, Any]]:
    """Node and body of every record of a kind."""
    records = read(finished.directory.events)
    return [(record.node, record.body) for record in records if type(record.body) is kind]


def saved(finished: Finished, node: str) -> Checkpoint:
    return load(finished.directory.checkpoint(node), PAIR)


def saved_workers(finished: Finished) -> list[str]:
    """Workers with a discriminator at the end."""
    folders = (finished.directory.path / "nodes").iterdir()
    return sorted(folder.name for folder in folders if folder.name != COORDINATOR)


def timeless(finished: Finished) -> list[dict[str, Any]]:
    """The log without what a clock decides, and without the name of the run."""
    records = map(json.loads, finished.directory.events.read_text().splitlines())
    return [
        {key: v for key, v in record.items() if key not in ("wall", "run") and key[-2:] != "_s"}
        for record in records
    ]


def assert_near(got_P: Tensor, wanted_P: Tensor) -> None:
    """Float32 against float64: to 1e-5, but for a few values with hardly a gradient."""
    difference_P = (got_P.double() - wanted_P).abs()
    assert (difference_P > 1e-5).double().mean() < 1e-3
    assert difference_P.max() < 1e-3


def parties_of(**settings: Any) -> Parties:
    """Both sides of a run of `split`."""
    defaults: dict[str, Any] = {"algorithm": "md-gan", "nodes": 3, "device": "cpu"}
    return Parties(prepare(RunConfig(**defaults | settings), Path("no-data-needed")))


# -- the game, again and in other shapes ---------------------------------------------------------


def test_who_has_nowhere_to_go_keeps_its_moments(split: Simulate) -> None:
    """`md.moments` is about discriminators that move."""
    runs = [split(moments, nodes=1, md=Split(moments=moments)) for moments in ("travel", "reset")]
    ends = [saved(finished, COORDINATOR).vectors["G"] for finished in runs]
    assert torch.equal(*ends)


def test_one_discriminator_plays_as_the_centralised_gan_does(split: Simulate) -> None:
    """Not the same images, but the same game: losses alike, and better pictures."""
    settings: dict[str, Any] = {
        "nodes": 1,
        "iterations": 300,
        "exchange_every": 100,
        "score": ScoreConfig(samples=200, every=1),
    }
    runs = [split(name, algorithm=name, **settings) for name in ("md-gan", "centralised")]
    means = [
        np.mean([(b.loss_d, b.loss_g) for n, b in bodies(run, schema.RoundFinished) if n == "0"], 0)
        for run in runs
    ]
    np.testing.assert_allclose(means[0], means[1], rtol=0.15)
    fid = [body.fid for _, body in bodies(runs[0], schema.Scores)]
    assert fid[-1] < 0.6 * fid[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_gpu_computes_what_a_cpu_does(split: Simulate, asynchronous: bool) -> None:
    md = Split(discriminators=3, share=0.5, asynchronous=asynchronous)
    ends = [
        saved(split(device, device=device, nodes=4, md=md), COORDINATOR).vectors["G"]
        for device in ("cpu", "cuda")
    ]
    assert (ends[0] - ends[1]).norm() < 1e-3 * ends[0].norm()


KINDS: dict[str, dict[str, Any]] = {
    "synchronous": {},
    "idle workers": {"nodes": 5, "md": Split(discriminators=2)},
    "faults": {
        "nodes": 5,
        "md": Split(discriminators=3),
        "coordinator": CoordinatorConfig(lose_every=2),
    },
    "sparse": {"md": Split(share=0.1)},
    "asynchronous": {"md": Split(asynchronous=True, batches=2, staleness="delay")},
    "per parameter": {"md": Split(asynchronous=True, share=0.1, staleness="parameter")},
    "penalty": {"train": Train(loss="wgan-gp", discriminator_steps=2)},
    "running mean": {"train": Train(ema=0.9)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_is_the_same_run(split: Simulate, kind: str) -> None:
    one, again = (split(name, **KINDS[kind]) for name in ("one", "again"))
    assert timeless(one) == timeless(again)
    assert saved_workers(one) == saved_workers(again)
    for node in (COORDINATOR, *saved_workers(one)):
        ours, theirs = (saved(finished, node).vectors for finished in (one, again))
        assert all(torch.equal(ours[net], theirs[net]) for net in ours)
    assert one.summary["scores"]["fid"]["mean"] > 0


def test_another_seed_is_another_run(split: Simulate) -> None:
    one, other = split("one", seed=1), split("other", seed=2)
    assert timeless(one)[1:] != timeless(other)[1:]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_panels_change_nothing_but_the_computation(split: Simulate, asynchronous: bool) -> None:
    """The same architecture twice makes two panels of what was one."""
    usual = {"nodes": 5, "md": Split(batches=3, asynchronous=asynchronous)}
    twice = Split(batches=3, asynchronous=asynchronous, models=("mlp-digits", "mlp-digits"))
    one, two = split("one", **usual), split("two", nodes=5, md=twice)
    ours, theirs = (saved(finished, COORDINATOR).vectors["G"] for finished in (one, two))
    assert_near(ours, theirs.double())
    assert one.summary["consensus"]["d"] > 0
    assert one.summary["traffic"] == two.summary["traffic"]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A second architecture for the same images."""
    layers = PAIR.discriminator.layers
    network = Network((*layers[:2], *layers[4:]))
    other = dataclasses.replace(PAIR, name="narrow", discriminator=network)
    monkeypatch.setitem(MODELS, "narrow", lambda: other)
    return other


def test_architectures_may_differ(split: Simulate, narrow: Model) -> None:
    """They move with their discriminators, and have no consensus distance."""
    finished = split(nodes=4, md=Split(models=("mlp-digits", "narrow"), batches=2))
    assert finished.summary["consensus"] == {"g": None, "d": None}
    workers, draws = [str(node) for node in range(4)], parties_of(nodes=4).draws()
    places = first_places(workers, 4, draws)
    for _ in range(2):
        places = moved(places, workers, draws)
    for slot, worker in places.items():
        of = narrow if slot % 2 else PAIR
        assert load(finished.directory.checkpoint(worker), of).vectors["D"].isfinite().all()
    sent = moves_of(finished)
    sizes = Counter({4 * 3 * THETA: 4, 4 * 3 * narrow.discriminator.size: 4})
    assert sum(sent) == sum(size * count for size, count in sizes.items())


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> Model:
    """`mlp-digits` with class outputs."""
    layers = PAIR.discriminator.layers
    network = Network((*layers[:-1], Linear(128, 11)))
    other = dataclasses.replace(PAIR, name="labelled", classes=10, discriminator=network)
    monkeypatch.setitem(MODELS, "labelled", lambda: other)
    return other


def test_conditional_runs_send_labels(split: Simulate, labelled: Model) -> None:
    finished = split(model="labelled", train=Train(conditional=True), md=Split(batches=2))
    assert sent_bytes(finished, "batches") == 9 * 3 * 4 * 2 * (B * D + B)
    assert sent_bytes(finished, "feedback") == 9 * 3 * 4 * B * D
    alike = split("alike", model="labelled", md=Split(batches=2))
    vectors = [load(f.directory.checkpoint(COORDINATOR), labelled) for f in (finished, alike)]
    assert not torch.equal(vectors[0].vectors["G"], vectors[1].vectors["G"])


def test_the_running_mean_is_what_is_scored_and_saved(split: Simulate) -> None:
    usual, mean = split("usual"), split("mean", train=Train(ema=0.9))
    ours, theirs = saved(usual, COORDINATOR), saved(mean, COORDINATOR)
    assert torch.equal(ours.vectors["G"], theirs.vectors["G"])
    assert ours.ema is None
    assert theirs.ema is not None
    assert not torch.equal(theirs.ema, theirs.vectors["G"])
    assert usual.summary["scores"] != mean.summary["scores"]


# -- traffic -------------------------------------------------------------------------------------


def traffic(finished: Finished, kind: str, way: str = "sent") -> dict[str, tuple[int, int]]:
    """Messages and bytes of a kind by node, over the whole run."""
    found: dict[str, tuple[int, int]] = {}
    for node, body in bodies(finished, schema.Traffic):
        tally = getattr(body, way).get(kind)
        if tally is not None:
            messages, size = found.get(node, (0, 0))
            found[node] = (messages + tally.messages, size + tally.payload_bytes)
    return found


def sent_bytes(finished: Finished, kind: str) -> int:
    return sum(size for _, size in traffic(finished, kind).values())


def moves_of(finished: Finished) -> list[int]:
    return [size for _, size in traffic(finished, "move").values()]


@pytest.mark.parametrize(("moments", "copies"), [("travel", 3), ("reset", 1)])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_traffic_is_as_the_formulas_say(
    split: Simulate, moments: Any, copies: int, asynchronous: bool
) -> None:
    """Thesis, table 5.3: 2bd to a worker, bd back, and the discriminator at every move."""
    md = Split(discriminators=3, moments=moments, batches=2, asynchronous=asynchronous)
    finished = split(nodes=4, md=md)
    n, iterations, moves = 3, 9, 2
    batches, feedback = 4 * 2 * B * D, 4 * B * D
    assert traffic(finished, "batches") == {COORDINATOR: (n * iterations, n * iterations * batches)}
    received = traffic(finished, "feedback", "received")
    assert received == {COORDINATOR: (n * iterations, n * iterations * feedback)}
    assert sum(moves_of(finished)) == n * moves * 4 * copies * THETA
    assert COORDINATOR not in traffic(finished, "move") | traffic(finished, "move", "received")
    total = n * iterations * (batches + feedback) + n * moves * 4 * copies * THETA
    assert finished.summary["traffic"]["bytes_total"] == total
    assert finished.summary["traffic"]["messages"] == n * (2 * iterations + moves)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_is_received(split: Simulate, kind: str) -> None:
    finished = split(**KINDS[kind])
    total = messages = 0
    for name in ("batches", "feedback", "move"):
        ways = [traffic(finished, name, way).values() for way in ("sent", "received")]
        sums = [np.sum(list(way) or [(0, 0)], axis=0).tolist() for way in ways]
        assert sums[0] == sums[1]
        messages, total = messages + sums[0][0], total + sums[0][1]
    assert finished.summary["traffic"]["bytes_total"] == total
    assert finished.summary["traffic"]["messages"] == messages


def test_sparse_feedback_is_values_and_positions(split: Simulate) -> None:
    finished = split(md=Split(share=0.1))
    kept = kept_values(B * D, 0.1)
    assert sent_bytes(finished, "feedback") == 9 * 3 * 4 * 2 * kept
    dense = split("dense")
    assert not torch.equal(*(saved(f, COORDINATOR).vectors["G"] for f in (finished, dense)))


def test_without_moves_discriminators_stay(split: Simulate) -> None:
    finished = split(nodes=5, md=Split(discriminators=2, moves=False))
    assert moves_of(finished) == []
    active = {node for node, _ in bodies(finished, schema.RoundFinished)} - {COORDINATOR}
    assert active == set(saved_workers(finished))
    assert len(active) == 2


# -- faults --------------------------------------------------------------------------------------


def active_by_round(finished: Finished) -> list[int]:
    """Workers that have told of losses."""
    rounds = [b.round for node, b in bodies(finished, schema.RoundFinished) if node != COORDINATOR]
    return [count for _, count in sorted(Counter(rounds).items())]


def test_workers_disappear_one_by_one(split: Simulate) -> None:
    """Thesis, figure 5.6: with as many workers as discriminators nothing comes back."""
    lose = CoordinatorConfig(lose_every=3)
    finished = split(nodes=4, iterations=12, coordinator=lose)
    lost = [node for node, body in bodies(finished, schema.FaultInjected)]
    assert len(set(lost)) == len(lost) == 3
    assert active_by_round(finished) == [3, 2, 1, 1]  # at the end of rounds 1, 2 and 3
    (left,) = saved_workers(finished)
    assert left not in lost
    assert finished.summary["rounds"] == 4
    assert finished.summary["scores"]["fid"]["mean"] > 0
    stops = [node for node, _ in bodies(finished, schema.NodeStopped)]
    assert stops == [COORDINATOR, left]


def test_who_is_lost_is_heard_of_no_more(split: Simulate) -> None:
    finished = split(nodes=4, iterations=12, coordinator=CoordinatorConfig(lose_every=3))
    records = list(read(finished.directory.events))
    for place, record in enumerate(records):
        if record.kind == "fault_injected":
            later = [r.kind for r in records[place + 1 :] if r.node == record.node]
            assert set(later) <= {"traffic"}  # of the round in which it was lost


@pytest.mark.parametrize("moments", ["travel", "reset"])
def test_lost_discriminators_are_made_again_on_idle_workers(split: Simulate, moments: Any) -> None:
    lose = CoordinatorConfig(lose_every=2)
    md = Split(discriminators=3, moments=moments, moves=False)
    finished = split(nodes=7, coordinator=lose, md=md)
    assert len(bodies(finished, schema.FaultInjected)) == 4
    assert len(saved_workers(finished)) == 3
    assert min(active_by_round(finished)) == 3
    lost = {node for node, _ in bodies(finished, schema.FaultInjected)}
    assert not lost & set(saved_workers(finished))
    assert sum(messages for messages, _ in traffic(finished, "move").values()) > 0  # the copies


class Looking:
    """Looks at a run's insides after every round."""

    def __init__(self, look: Callable[[SplitRun], Any]) -> None:
        self.look, self.seen = look, list[Any]()

    def __call__(self, simulation: Any) -> None:
        assert isinstance(simulation, SplitRun)
        self.seen.append(self.look(simulation))


def test_a_discriminator_made_again_is_the_copy_of_a_live_one(split: Simulate) -> None:
    """With its moments: right after the fault both are the same."""
    looking = Looking(lambda run: run._panels[0].vectors().clone())
    md = Split(discriminators=3, moves=False)
    lose = CoordinatorConfig(lose_every=3)
    for seed in range(10):  # until somebody with a discriminator is lost
        looking.seen.clear()
        finished = split(
            f"run{seed}", nodes=4, md=md, coordinator=lose, seed=seed, on_round=looking
        )
        vectors_NP = looking.seen[0]
        pairs = [(0, 1), (0, 2), (1, 2)]
        equal = [torch.equal(vectors_NP[a], vectors_NP[b]) for a, b in pairs]
        if any(equal):
            assert sum(equal) == 1
            assert sum(messages for messages, _ in traffic(finished, "move").values()) >= 1
            return
    pytest.fail("nobody with a discriminator was lost")


def test_the_only_discriminator_begins_anew(split: Simulate) -> None:
    """Nobody is left to copy from, and nobody to tell of the losses of the round."""

    def look(run: SplitRun) -> tuple[Tensor, int]:
        return run._panels[0].vectors().clone(), run._panels[0]._parts[0].critics.player.steps

    looking = Looking(look)
    md, lose = Split(discriminators=1, moves=False), CoordinatorConfig(lose_every=3)
    begun = 0
    for seed in range(4):
        looking.seen.clear()
        finished = split(
            f"run{seed}", nodes=4, md=md, coordinator=lose, seed=seed, on_round=looking
        )
        start = parties_of(nodes=4, md=md, seed=seed).discriminator_row(0)[:, :THETA]
        anew = [torch.equal(vectors_NP, start) for vectors_NP, _ in looking.seen]
        assert [steps == 0 for _, steps in looking.seen] == anew
        told = [b for node, b in bodies(finished, schema.RoundFinished) if node == COORDINATOR]
        assert [body.loss_g is None for body in told] == anew
        begun += sum(anew)
    assert begun


def test_the_rounds_of_a_run_with_faults_are_whole(split: Simulate) -> None:
    """Faults in the middle of rounds cut no iteration off."""
    finished = split(nodes=4, coordinator=CoordinatorConfig(lose_every=4))
    ends = [b.iterations for n, b in bodies(finished, schema.RoundFinished) if n == COORDINATOR]
    assert ends == [3, 6, 9]
    n_by_iteration = [4, 4, 4, 4, 3, 3, 3, 3, 2]
    assert traffic(finished, "batches")[COORDINATOR][0] == sum(n_by_iteration)


# -- asynchronous --------------------------------------------------------------------------------


def test_a_lone_discriminator_is_never_late(split: Simulate) -> None:
    """Asynchronous or not, it answers before anything else happens."""
    runs = [
        split(f"run{n}", nodes=1, md=md)
        for n, md in enumerate(
            [
                Split(),
                Split(asynchronous=True),
                Split(asynchronous=True, staleness="delay"),
                Split(asynchronous=True, staleness="parameter"),
            ]
        )
    ]
    first, *others = (saved(run, COORDINATOR).vectors["G"] for run in runs)
    for other in others:
        assert_near(other, first.double())


def test_rules_of_staleness_differ_where_feedback_is_late(split: Simulate) -> None:
    rules: list[Any] = ["none", "delay", "parameter"]
    ends = [
        saved(
            split(rule, md=Split(asynchronous=True, staleness=rule, share=0.02, moves=False)),
            COORDINATOR,
        ).vectors["G"]
        for rule in rules
    ]
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


def test_asynchronous_steps_are_one_per_feedback(split: Simulate) -> None:
    steps = Looking(lambda run: run._source.player.steps)
    split("one", md=Split(asynchronous=True), on_round=steps)
    assert steps.seen == [9, 18, 27]
    steps.seen.clear()
    split("other", on_round=steps)
    assert steps.seen == [3, 6, 9]


# -- beginning, end and interrupts ---------------------------------------------------------------


def test_scores_are_of_the_coordinators_generator(split: Simulate) -> None:
    finished = split(score=ScoreConfig(samples=20, every=1, final_samples=40))
    scored = bodies(finished, schema.Scores)
    assert [(node, body.round) for node, body in scored] == [(COORDINATOR, r) for r in (1, 2, 3)]
    last = scored[-1][1]
    assert finished.summary["scores"]["fid"]["mean"] == last.fid
    assert finished.summary["consensus"]["g"] is None
    assert finished.summary["quality"]["nodes"] == [COORDINATOR]
    distances = [body.d for _, body in bodies(finished, schema.Consensus)]
    assert finished.summary["consensus"]["d"] == distances[-1]


def test_scoring_does_not_disturb_training(split: Simulate) -> None:
    usual = split("usual")
    often = split("often", score=ScoreConfig(samples=20, every=1, final_samples=40))
    saving = split("saving", engine=EngineConfig(checkpoint_every=1))
    for other in (often, saving):
        ours, theirs = (saved(finished, COORDINATOR).vectors["G"] for finished in (usual, other))
        assert torch.equal(ours, theirs)


def after(rounds: int) -> Callable[[Any], None]:
    def on_round(simulation: Any) -> None:
        if simulation.round == rounds:
            raise KeyboardInterrupt

    return on_round


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_interrupt_saves_what_there_is(split: Simulate, rounds: int, asynchronous: bool) -> None:
    """Also after moves: the networks are those of a shorter run, but for where they are."""
    md = Split(asynchronous=asynchronous)
    finished = split("cut", on_round=after(rounds), md=md)
    summary = finished.directory.read_summary()
    assert (summary["interrupted"], summary["iterations"]) == (True, 3 * rounds)
    assert summary["scores"]["fid"]["mean"] > 0
    assert saved(finished, COORDINATOR).iterations == 3 * rounds
    shorter = split("short", iterations=3 * rounds, md=md)
    ours, theirs = (saved(f, COORDINATOR).vectors["G"] for f in (finished, shorter))
    assert torch.equal(ours, theirs)
    reasons = [(node, body.reason) for node, body in bodies(finished, schema.NodeStopped)]
    assert reasons == [(node, "interrupted") for node in (COORDINATOR, "0", "1", "2")]


def test_an_interrupt_within_a_round_saves_what_there_is(
    split: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C does not wait for the round's end."""
    usual, calls = SplitRun._learn, []

    def interrupted(run: SplitRun, *given: Any) -> None:
        calls.append(run.round)
        if len(calls) == 5:
            raise KeyboardInterrupt
        usual(run, *given)

    monkeypatch.setattr(SplitRun, "_learn", interrupted)
    finished = split()
    assert calls == [0, 0, 0, 1, 1]
    assert finished.summary["interrupted"] is True
    assert finished.summary["rounds"] == 1
    assert saved(finished, COORDINATOR).vectors["G"].isfinite().all()
    assert len(saved_workers(finished)) == 3


@pytest.mark.parametrize("every", [1, 2])
def test_checkpoints_are_saved_on_the_way(split: Simulate, every: int) -> None:
    finished = split(engine=EngineConfig(checkpoint_every=every))
    places = [
        (node, body.iterations)
        for node, body in bodies(finished, schema.CheckpointSaved)
        if node == COORDINATOR
    ]
    assert [iterations for _, iterations in places] == {1: [3, 6, 9], 2: [6, 9]}[every]


def test_only_who_has_a_discriminator_has_one_saved(split: Simulate) -> None:
    """What a worker saved on the way belongs to another one by now."""
    finished = split(nodes=5, md=Split(discriminators=2), engine=EngineConfig(checkpoint_every=1))
    log = bodies(finished, schema.CheckpointSaved)
    assert len({node for node, _ in log if node != COORDINATOR}) > 2, "the draws of this seed"
    kept = [node for node in "01234" if finished.directory.checkpoint(node).is_file()]
    assert kept == sorted(node for node, _ in log[-3:] if node != COORDINATOR)


def test_diverged_networks_are_saved_and_said_so(split: Simulate) -> None:
    finished = split(train=Train(loss="lsgan", learning_rate_g=1e30))
    assert finished.directory.read_summary()["scores"]["fid"]["mean"] is None
    assert finished.directory.checkpoint(COORDINATOR).is_file()


def test_the_last_round_may_be_short(split: Simulate) -> None:
    finished = split(iterations=7)
    ends = [b.iterations for n, b in bodies(finished, schema.RoundFinished) if n == COORDINATOR]
    assert ends == [3, 6, 7]
    assert finished.summary["iterations"] == 7
