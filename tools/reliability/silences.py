"""Nodes that say nothing for a while, or others cannot hear: busy, frozen, hung, or cut off."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

import torch

from p2pgan.daemon import control
from p2pgan.daemon.family import Family
from p2pgan.mixing.rules import consensus_distance
from p2pgan.node.kept import Resumption
from p2pgan.record.schema import OverlayChanged, PeerLost
from p2pgan.types import NETS, Net
from tools.chaos import ROUTES, Chaos, addresses, put_beside
from tools.faulty_link import FaultyLinks, Link, parted
from tools.reliability.runs import CONFIG, FEW, QUIET, Asked, Outcome, neighbors, spread

NOTICED_S: Final = 10.0
BACK_S: Final = 10.0
WHOLE_S: Final = 15.0

FROZEN_S: Final = 20.0

CUT_S: Final = 60.0

ROUNDS: Final = 5
"""After a cut, until the nodes should be as far from each other as without it."""

SNAPSHOTS: Final = 4
"""Of all networks, whose distances are averaged: each is of one moment between two exchanges."""

NEAR: Final = 0.1
"""Share by which the distances may differ."""


# -- busy ------------------------------------------------------------------------------------------


def busy(asked: Asked) -> Outcome:
    """Nothing happens but training: who is taken for dead?"""
    with asked.run(asked.config(QUIET)) as run:
        begun_s = time.time()
        run.watch(60.0 * asked.minutes)
        lost = run.logged("peer_lost", since_s=begun_s)
        dead = sum(isinstance(r.body, PeerLost) and r.body.reason == "silent" for r in lost)
        suspected = len(run.logged("peer_suspected", since_s=begun_s))
        recovered = len(run.logged("peer_recovered", since_s=begun_s))
        rounds = len(run.logged("round_finished", since_s=begun_s))
    return Outcome(
        measured=f"{asked.minutes:g} minutes, preset `{asked.preset}`, {rounds} rounds: {dead} "
        f"taken for dead, {suspected} suspicions, {recovered} refuted, {len(lost) - dead} other "
        "losses",
        is_met=dead == 0,
    )


# -- frozen and hung -------------------------------------------------------------------------------


def freeze(asked: Asked) -> Outcome:
    """A process is stopped for a while."""
    noticed_s: list[float] = []
    back_s: list[float] = []
    refused = starts = 0
    for repeat in range(asked.repeats):
        with asked.run(asked.config(CONFIG, repeat)) as run:
            begun_s = run.freeze("1")
            run.watch(FROZEN_S)
            noticed_s.append(min(run.noticed_s("peer_suspected", "1", begun_s).values()))
            thawed_s = run.thaw("1")
            run.wait("everybody knows that it is back", lambda: _is_back(run, "1"))
            back_s.append(time.time() - thawed_s)
            run.watch(BACK_S)
            refused += len(run.logged("peer_refused", since_s=begun_s))
            starts += len(run.logged("node_started", ["1"]))
    return Outcome(
        measured=f"{asked.repeats} times: suspected {spread(noticed_s)}; ready again at all its "
        f"neighbors {spread(back_s)} after it goes on; {refused} refused, {starts} starts",
        is_met=max(noticed_s) <= NOTICED_S
        and max(back_s) <= BACK_S
        and refused == 0
        and starts == asked.repeats,
    )


def _is_back(run: Chaos, node: str) -> bool:
    """Whether nobody doubts a node, and all its neighbors send there, and it to them."""
    around = neighbors(run, node)
    ready = [_state(run, other, node) == _state(run, node, other) == "ready" for other in around]
    return all(ready) and all(_nodes(run, other) == len(run.nodes) for other in run.nodes)


def _state(run: Chaos, node: str, peer: str) -> str:
    """What a node says of a link."""
    answer = run.ask(node, control.PeersRequest())
    assert isinstance(answer, control.PeersAnswer), "what was asked"
    return next((row.state for row in answer.peers if row.peer == peer), "")


def _nodes(run: Chaos, node: str) -> int:
    """Members in the overlay as a node has it."""
    changes = [r.body for r in run.logged("overlay_changed", [node])]
    last = changes[-1] if changes else None
    return last.nodes if isinstance(last, OverlayChanged) else len(run.nodes)


def hang(asked: Asked) -> Outcome:
    """The training of a node hangs while it answers; when does it say so, and when do others?"""
    said_s: list[float] = []
    heard_s: list[float] = []
    for repeat in range(asked.repeats):
        with asked.run(asked.config(FEW, repeat)) as run:
            begun_s = _hung(run, "1")
            said = run.logged("node_degraded", ["1"], begun_s)[0]
            said_s.append(said.wall.timestamp() - begun_s)
            heard_s += run.noticed_s("peer_degraded", "1", begun_s).values()
    return Outcome(
        measured=f"{asked.repeats} times: said {spread(said_s)}; known at a neighbor "
        f"{spread(heard_s)}",
        is_met=max(said_s) <= NOTICED_S,
    )


def _hung(run: Chaos, node: str) -> float:
    """Has a node hang, and waits until it and its neighbors know; the wall time at which it did."""
    begun_s, around = run.hang(node), {*neighbors(run, node)}
    run.wait(
        "`degraded` at the node and its neighbors",
        lambda: {*run.noticed_s("peer_degraded", node, begun_s)} >= around,
    )
    return begun_s


# -- cut off ---------------------------------------------------------------------------------------


def partition(asked: Asked) -> Outcome:
    """Two halves do not hear of each other for a while."""
    config = asked.config(CONFIG)
    with FaultyLinks() as links:
        between: list[Link] = []
        with asked.run(config, lambda family: _part(family, links, between)) as run:
            run.watch(NOTICED_S)
            with parted(*between):
                run.watch(CUT_S)
                seen = sorted({_nodes(run, node) for node in run.nodes})
                apart = _distances(run)
            healed_s = time.time()
            run.wait("all tables are whole", lambda: _is_whole(run))
            whole_s = time.time() - healed_s
            run.wait("a vector from the other half", lambda: bool(_across(run, healed_s)))
            across_s = min(_across(run, healed_s)) - healed_s
            rounds = {node: _rounds(run, node) for node in run.nodes}
            run.wait(
                "some rounds of everybody",
                lambda: all(_rounds(run, node) >= rounds[node] + ROUNDS for node in run.nodes),
            )
            iterations = _iterations(run)
            after = _distances(run)
    usual = _undisturbed(asked, iterations)
    shares = {net: after[net] / usual[net] for net in after}
    return Outcome(
        measured=f"cut for {CUT_S:g} s, overlays of {seen} nodes meanwhile; whole after "
        f"{whole_s:.1f} s, a vector from the other half mixed after {across_s:.1f} s; consensus "
        f"distance {ROUNDS} rounds later, by that of a run without a cut at {iterations:.0f} "
        f"iterations: {_words(shares)}; {_words(apart)} at the end of the cut, then "
        f"{_words(after)}",
        is_met=whole_s <= WHOLE_S and all(share <= 1.0 + NEAR for share in shares.values()),
    )


def _part(family: Family, links: FaultyLinks, between: list[Link]) -> None:
    """Has all that goes from one half to the other go over links, which are added to `between`."""
    places = addresses(family)
    for half in _halves(list(places)):
        beyond = {places[node]: links.to(places[node]) for node in places if node not in half}
        between += beyond.values()
        routes = {real: link.address for real, link in beyond.items()}
        for node in half:
            put_beside(family, node, ROUTES, json.dumps(routes))


def _halves(nodes: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    middle = len(nodes) // 2
    return nodes[:middle], nodes[middle:]


def _is_whole(run: Chaos) -> bool:
    return all(_nodes(run, node) == len(run.nodes) for node in run.nodes)


def _across(run: Chaos, since_s: float) -> list[float]:
    """When vectors of the other half were mixed."""
    half = {node: number for number, part in enumerate(_halves(run.nodes)) for node in part}
    return [
        record.wall.timestamp()
        for record in run.logged("vector_mixed", since_s=since_s)
        if half[record.node] != half[getattr(record.body, "peer", record.node)]
    ]


def _rounds(run: Chaos, node: str) -> int:
    return len(run.logged("round_finished", [node]))


def _iterations(run: Chaos) -> float:
    """Mean of all nodes."""
    run.look()
    last = [run.logged("round_finished", [node])[-1].body for node in run.nodes]
    return fmean(getattr(body, "iterations", 0) for body in last)


def _undisturbed(asked: Asked, iterations: float) -> dict[Net, float]:
    """Distances in a run that nobody cuts, when it has made as many iterations."""
    with asked.run(asked.config(CONFIG)) as run:
        run.wait("as many iterations", lambda: _iterations(run) >= iterations, math.inf)
        return _distances(run)


def _distances(run: Chaos) -> dict[Net, float]:
    """Consensus distance of the nodes' networks, the mean of some moments."""
    found = [_distance(run) for _ in range(SNAPSHOTS)]
    return {net: fmean(distance[net] for distance in found) for net in NETS}


def _distance(run: Chaos) -> dict[Net, float]:
    asked_s = time.time()
    for node in run.nodes:
        run.ask(node, control.CheckpointRequest())
    run.wait(
        "everybody saves",
        lambda: {r.node for r in run.logged("checkpoint_saved", since_s=asked_s)} >= {*run.nodes},
    )
    found = [_saved(run, node) for node in run.nodes]
    return {net: consensus_distance(torch.stack([one[net] for one in found])) for net in NETS}


def _saved(run: Chaos, node: str) -> Mapping[Net, torch.Tensor]:
    family = run.family
    path = family.directory.checkpoint(node)
    resumption = Resumption.newest(path, family.experiment.model)
    assert resumption is not None, f"node {node} has saved"
    return resumption.checkpoint.vectors


def _words(distances: Mapping[Net, float]) -> str:
    return ", ".join(f"{net} {distance:.2f}" for net, distance in distances.items())
