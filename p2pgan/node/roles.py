"""What a node of a run is: a peer, a coordinator or a worker, with its machine and its work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from p2pgan.design import Design
from p2pgan.errors import ConfigError
from p2pgan.experiment import Experiment
from p2pgan.mixing.agreement import Schedule, Voter, judges_of
from p2pgan.mixing.draws import push_targets
from p2pgan.mixing.federated import asked, count, select
from p2pgan.mixing.merging import Merging, weighting
from p2pgan.mixing.moves import first_places, moved, replacement
from p2pgan.node.around import Company, Views, around_of, timing_of
from p2pgan.node.federated_work import ModelWork, UpdateWork
from p2pgan.node.jobs import NodeWork
from p2pgan.node.kept import Sealed, positions, set_positions
from p2pgan.node.seat import Seat
from p2pgan.node.split_work import CriticWork, GeneratorWork
from p2pgan.node.work import CohortWork, alone
from p2pgan.overlay.graph import Overlay
from p2pgan.overlay.resolve import resolve
from p2pgan.parties import Parties
from p2pgan.payloads import Payloads, discriminator_bytes
from p2pgan.protocol.core import LastStepSettings, Settings
from p2pgan.protocol.links import Identity
from p2pgan.protocol.machine import Machine
from p2pgan.protocol.machines import machine_of
from p2pgan.protocol.messages import NET_WORD_BYTES
from p2pgan.protocol.roles import (
    CoordinatorSettings,
    DeadlineSettings,
    Federated,
    Places,
    Placing,
    Selection,
    Split,
    WorkerSettings,
)
from p2pgan.seeds import EVERYONE, stream
from p2pgan.types import COORDINATOR, NETS, Net


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a node does in a run."""

    machine: Machine
    neighbors: tuple[str, ...]
    """Whom it connects to."""
    make_work: Callable[[], NodeWork]
    """Builds its networks, in the thread that they belong to."""
    seal: Callable[[bytes], bytes] = lambda state: state
    """Adds to a machine's state where the streams that it draws from stand."""
    snapshot: Mapping[Net, bytes] = field(default_factory=dict, repr=False)
    """Networks that it may send before any work is done."""


def part_of(
    experiment: Experiment, overlay: Overlay, seat: Seat, company: Company | None = None
) -> Part:
    """The part that a node takes.

    Args:
        experiment: what is run.
        overlay: its overlay; with a coordinator, that is one of its nodes.
        seat: the node.
        company: the members that a peer knows of; `None`: they do not watch each other.
    """
    if not experiment.algorithm.has_coordinator:
        return _peer(experiment, overlay, seat, company)
    if seat.node == COORDINATOR:
        return _coordinator(experiment, seat)
    return _worker(experiment, seat)


def neighbors_of(design: Design, overlay: Overlay, node: str) -> tuple[str, ...]:
    """Whom a node connects to, in the run's order.

    Those are its neighbors in the overlay. With a coordinator it is the star around that; MD-GAN's
    workers know each other as well, since who comes late gets a copy of a discriminator even where
    they do not move.
    """
    config, algorithm = design.config, design.algorithm
    if not algorithm.has_coordinator:
        exchanges = algorithm.groups or (config.final != "none" and len(overlay.nodes) > 1)
        return overlay.neighbors(node) if exchanges else ()
    if node == COORDINATOR:
        return design.nodes
    others = tuple(other for other in design.nodes if other != node)
    return (COORDINATOR, *(others if algorithm.is_split else ()))


def check_algorithm(experiment: Experiment) -> None:
    """Nodes that keep their data and go at their own pace cannot run everything.

    Raises:
        ConfigError: for algorithms with all data in one place, for draws that need everybody at one
            instant, and where there is a coordinator for a last step, for a running mean of a model
            that it only averages, and for workers that are to be lost.
    """
    algorithm, final = experiment.algorithm, experiment.config.final
    if algorithm.is_pooled:
        raise ConfigError(
            expected="an algorithm whose nodes keep their data, such as `gossip`",
            got=f"`{algorithm.name}`",
            at="--algorithm",
            hint=f"`p2pgan simulate --algorithm {algorithm.name}` runs it",
        )
    if algorithm.has_coordinator and final != "none":
        raise ConfigError(
            expected="`none`: the coordinator has one model for all",
            got=f"`{final}`",
            at="--final",
        )
    if algorithm.is_federated and experiment.config.train.ema:
        raise ConfigError(
            expected="0: the coordinator trains nothing that it could keep a running mean of",
            got=f"`{experiment.config.train.ema:g}`",
            at="train.ema",
            hint="`p2pgan simulate --algorithm fl-gan` keeps one at every node",
        )
    if algorithm.is_split and experiment.config.coordinator.lose_every:
        raise ConfigError(
            expected="0: no process ends itself",
            got=f"`{experiment.config.coordinator.lose_every}`",
            at="coordinator.lose_every",
            hint="`p2pgan simulate --algorithm md-gan` loses workers",
        )
    algorithm.draw(experiment.config.exchange, lockstep=False)


def whole_overlay(design: Design) -> Overlay:
    """The overlay with everybody in it: where there is a coordinator, the star around it, with the
    coordinator's address if the overlay's file names one."""
    if not design.algorithm.has_coordinator:
        return design.overlay
    star = design.overlay.with_hub(COORDINATOR)
    rng = stream(design.config.seed, EVERYONE, "overlay")
    found = resolve(design.config.overlay, None, rng, allow_disconnected=True)
    address = found.address(COORDINATOR) if COORDINATOR in found.nodes else None
    return star if address is None else star.with_addresses({COORDINATOR: address})


def _identity(design: Design, seat: Seat) -> Identity:
    return Identity(
        node=seat.node,
        run=seat.run,
        architecture=design.architecture,
        boot=seat.boot,
    )


# -- gossip ----------------------------------------------------------------------------------------


def _peer(experiment: Experiment, overlay: Overlay, seat: Seat, company: Company | None) -> Part:
    draws = peer_draws(experiment, seat)
    settings = peer_settings(experiment, overlay, seat, draws)
    timing = timing_of(experiment.config.membership, "lan")
    if company is not None and timing is not None and settings.neighbors:
        views = Views(company.base, mend=experiment.config.membership.mend)
        around = around_of(experiment, seat, company, timing, views)
        now = views.of(around.membership.members).neighbors[seat.node]
        neighbors = tuple(node for node in overlay.nodes if node in now)
        settings = replace(settings, around=around, neighbors=neighbors)
    return Part(
        machine=machine_of(settings),
        neighbors=settings.neighbors,
        make_work=lambda: CohortWork(experiment, seat, alone(experiment, seat.node)),
        seal=draws.seal,
    )


EXCHANGES: Final[Mapping[Merging, Literal["push", "mass", "pair"]]] = {
    "average": "push",
    "sum-weights": "push",
    "push-sum": "mass",
    "pairwise": "pair",
}
"""How vectors get to others, by what is done with them there."""


class PeerDraws(NamedTuple):
    """What the machine of a node of a gossip run draws from."""

    targets: np.random.Generator
    judges: np.random.Generator

    def seal(self, state: bytes) -> bytes:
        """A machine's state, with where they stand."""
        return Sealed(machine=state, draws=positions(self)).encode()


def peer_draws(design: Design, seat: Seat) -> PeerDraws:
    """A node's draws, where it goes on with them."""
    seed, node = design.config.seed, seat.node
    draws = PeerDraws(stream(seed, node, "draws"), stream(seed, node, "judges"))
    if seat.resumption is not None:
        set_positions(draws, seat.resumption.sealed.draws)
    return draws


def peer_settings(design: Design, overlay: Overlay, seat: Seat, draws: PeerDraws) -> Settings:
    """What the machine of a node of a gossip run is told."""
    config, exchange = design.config, design.config.exchange
    rng, resumption = draws.targets, seat.resumption
    return Settings(
        identity=_identity(design, seat),
        neighbors=neighbors_of(design, overlay, seat.node),
        groups=design.algorithm.groups,
        net_bytes={net: NET_WORD_BYTES * design.exchanged_size(net) for net in NETS},
        iterations=config.iterations,
        exchange_every=design.exchange_every,
        draw=lambda ready: push_targets(ready, exchange.fanout, rng, exchange.probability),
        exchange=EXCHANGES[design.algorithm.merging],
        weighting=weighting(design.algorithm.merging, exchange),
        is_scored=design.is_scored,
        checkpoint_every=config.daemon.checkpoint_every,
        checkpoint_s=config.daemon.checkpoint_s,
        state=resumption.sealed.machine if resumption is not None else b"",
        is_again=resumption is not None,
        last_step=_last_step(design, overlay, seat.node, draws.judges),
        wait_s=config.daemon.wait_s,
        drain_s=config.daemon.drain_s,
    )


def _last_step(
    design: Design, overlay: Overlay, node: str, rng: np.random.Generator
) -> LastStepSettings | None:
    """The last step of a node that has anybody to take it with."""
    config = design.config
    if config.final == "none" or len(overlay.nodes) == 1:
        return None
    around = {name: frozenset(overlay.neighbors(name)) for name in overlay.nodes}
    daemon = config.daemon
    if config.final == "average":
        return LastStepSettings(
            name="average",
            groups=design.algorithm.groups or (NETS,),
            around=around,
            rounds=design.rehearsed_rounds,
            wait_s=daemon.final_wait_s,
            round_s=daemon.final_round_s,
        )
    schedule = Schedule(design.rehearsed_rounds)
    return LastStepSettings(
        name="agree",
        groups=(NETS,),
        around=around,
        rounds=schedule.rounds,
        voter=Voter(node),
        stage=lambda round_: schedule.stage(round_).value,
        judges=lambda ready: judges_of(ready, rng),
        wait_s=daemon.final_wait_s,
        round_s=daemon.final_round_s,
    )


# -- systems with a coordinator --------------------------------------------------------------------


def _system(experiment: Experiment) -> Federated | Split:
    """What both sides know."""
    if not experiment.algorithm.is_split:
        values = sum(experiment.exchanged_size(net) for net in NETS)
        return Federated(model_bytes=NET_WORD_BYTES * values)
    parties = Parties(experiment)
    payloads = Payloads.of(parties)
    return Split(
        batches_bytes=payloads.batches_bytes,
        feedback_bytes=payloads.feedback_bytes,
        move_bytes=tuple(
            discriminator_bytes(parties, slot) for slot in range(parties.discriminators)
        ),
        is_asynchronous=experiment.config.md.asynchronous,
    )


def _worker(experiment: Experiment, seat: Seat) -> Part:
    config = experiment.config
    neighbors = neighbors_of(experiment, experiment.overlay, seat.node)
    settings = WorkerSettings(
        identity=_identity(experiment, seat),
        neighbors=neighbors,
        coordinator=COORDINATOR,
        system=_system(experiment),
        iterations=config.iterations,
        exchange_every=experiment.exchange_every,
        wait_s=config.daemon.wait_s,
        drain_s=config.daemon.drain_s,
        alone_s=config.coordinator.wait_s,
    )

    if experiment.algorithm.is_split:
        return Part(
            machine=machine_of(settings),
            neighbors=neighbors,
            make_work=lambda: CriticWork(Parties(experiment), seat),
        )
    return Part(
        machine=machine_of(settings),
        neighbors=neighbors,
        make_work=lambda: UpdateWork(experiment, seat),
    )


def _coordinator(experiment: Experiment, seat: Seat) -> Part:
    config = experiment.config
    rule, rng = (_placing if experiment.algorithm.is_split else _selection)(experiment)
    sealed = seat.resumption.sealed if seat.resumption is not None else None
    if sealed is not None:
        set_positions([rng], sealed.draws)
    limits = config.coordinator
    settings = CoordinatorSettings(
        identity=_identity(experiment, seat),
        neighbors=experiment.nodes,
        system=_system(experiment),
        rule=rule,
        iterations=config.iterations,
        exchange_every=experiment.exchange_every,
        is_scored=experiment.is_scored,
        deadline=DeadlineSettings(
            first_s=limits.deadline_first_s,
            min_s=limits.deadline_min_s,
            spread=limits.deadline_spread,
        ),
        lost_after_s=limits.lost_after_s,
        alone_s=limits.wait_s,
        checkpoint_every=limits.checkpoint_every,
        state=sealed.machine if sealed is not None else b"",
        is_again=sealed is not None,
        wait_s=config.daemon.wait_s,
        drain_s=config.daemon.drain_s,
    )

    def seal(state: bytes) -> bytes:
        return Sealed(machine=state, draws=positions([rng])).encode()

    if experiment.algorithm.is_split:
        return Part(
            machine=machine_of(settings),
            neighbors=experiment.nodes,
            make_work=lambda: GeneratorWork(Parties(experiment), seat),
            seal=seal,
        )
    work = ModelWork(experiment, seat)
    return Part(
        machine=machine_of(settings),
        neighbors=experiment.nodes,
        make_work=work.in_this_thread,
        seal=seal,
        snapshot=work.snapshot(),  # workers get it before anything is averaged
    )


def _selection(experiment: Experiment) -> tuple[Selection, np.random.Generator]:
    """FL-GAN's draws, and the stream that they come from."""
    config = experiment.config.fl
    rng = stream(experiment.config.seed, EVERYONE, "selection")
    made_of = count(config.fraction, len(experiment.nodes))

    def draw(ready: Sequence[str], round_: int) -> tuple[Sequence[str], int]:
        del round_  # one draw after the other
        number = asked(made_of, config.over_selection, len(ready))
        return select(ready, number, rng), min(made_of, len(ready))

    return Selection(select=draw), rng


def _placing(experiment: Experiment) -> tuple[Placing, np.random.Generator]:
    """MD-GAN's draws, and the stream that they come from."""
    parties = Parties(experiment)
    rng = parties.draws()
    kinds = len(parties.kinds)

    def replaced(
        slot: int, places: Places, workers: Sequence[str]
    ) -> tuple[int | None, str] | None:
        return replacement(slot, dict(places), workers, kinds, rng)

    def move(places: Places, workers: Sequence[str]) -> Places:
        return moved(dict(places), workers, rng)

    placing = Placing(
        first=first_places(experiment.nodes, parties.discriminators, rng),
        replacement=replaced,
        moved=move if experiment.config.md.moves else None,
    )
    return placing, rng
