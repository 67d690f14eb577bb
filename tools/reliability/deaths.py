"""Nodes that end by SIGKILL, and what of the others."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from p2pgan.daemon.joining import ask
from p2pgan.daemon.restarts import BACKOFF_S
from p2pgan.daemon.transport import conversation
from p2pgan.errors import TransportError
from p2pgan.protocol.messages import PROTOCOL_VERSION, Hello, Refuse, Welcome
from p2pgan.types import COORDINATOR
from tools.chaos import Chaos
from tools.reliability.runs import CONFIG, FEW, Asked, Outcome, neighbors, spread

BEFORE_S: Final = 20.0
"""How long a run is watched before it is disturbed."""

WINDOW_S: Final = 10.0
"""Exchanges are counted over so long."""

RECOVERY: Final = 0.9
"""Share of the exchanges before, at which a run has recovered."""

RECOVERY_S: Final = 30.0

KILLED: Final = 3

SETTLE_S: Final = 5.0
"""Until a node that was started again is one like all others."""

MEDIAN_S: Final = 5.0
WORST_S: Final = 10.0
AGREE_S: Final = 15.0

ACCEPTED_S: Final = 3.0

ANSWER_S: Final = 3.0
"""For the answer to a hello; a caller that is known to be gone gets none."""

ANSWERS: Final = 4
"""To as many hellos, until one of them is a word on it."""

WELCOMED: Final = "welcomed"


# -- some of many ----------------------------------------------------------------------------------


def kill(asked: Asked) -> Outcome:
    """Some nodes end at random moments; do the others go on, and as fast as before?"""
    found = [_killed(asked, repeat) for repeat in range(asked.repeats)]
    shares = [one.share for one in found]
    per_round = [one.share_per_round for one in found]
    ended, tracebacks = sum(one.ended for one in found), sum(one.tracebacks for one in found)
    return Outcome(
        measured=f"{asked.repeats} times: {ended} survivors ended, {tracebacks} tracebacks; "
        f"exchanges a minute of the survivors, {RECOVERY_S - WINDOW_S:g} to {RECOVERY_S:g} s after "
        f"the last kill, {median(shares):.2f} times those before ({min(shares):.2f} to "
        f"{max(shares):.2f}); exchanges a round {median(per_round):.2f} times "
        f"({min(per_round):.2f} to {max(per_round):.2f})",
        is_met=ended == 0 and tracebacks == 0 and min(per_round) >= RECOVERY,
    )


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What became of the survivors of one run."""

    share: float
    """Exchanges a minute, by those before."""
    share_per_round: float
    """Exchanges a round, by those before: what else the machine does slows both alike."""
    ended: int
    tracebacks: int


def _killed(asked: Asked, repeat: int) -> Aftermath:
    rng = np.random.default_rng(asked.seed + repeat)
    with asked.run(asked.config(CONFIG, repeat)) as run:
        killed = [str(node) for node in rng.permutation(len(run.nodes))[:KILLED]]
        others = [node for node in run.nodes if node not in killed]
        begun_s = time.time()
        run.watch(BEFORE_S)
        before_s = time.time() - begun_s
        mixed, rounds = _counts(run, others, begun_s)
        for node in killed:
            run.watch(rng.uniform(0.0, 2.0))
            run.kill([node])
        run.watch(RECOVERY_S - WINDOW_S)
        window_s = time.time()
        run.watch(WINDOW_S)
        mixed_after, rounds_after = _counts(run, others, window_s)
        return Aftermath(
            share=(mixed_after / WINDOW_S) / (mixed / before_s),
            share_per_round=(mixed_after / rounds_after) / (mixed / rounds),
            ended=sum(not Path(f"/proc/{run.pid(node)}").exists() for node in others),
            tracebacks=len(set(run.tracebacks()) & {*others}),
        )


def _counts(run: Chaos, nodes: Sequence[str], since_s: float) -> tuple[int, int]:
    """Vectors that these nodes have mixed, and rounds that they have made."""
    mixed, rounds = (
        run.logged(kind, nodes, since_s) for kind in ("vector_mixed", "round_finished")
    )
    return len(mixed), len(rounds)


# -- when it is noticed ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """When the death of one node was noticed."""

    suspected_s: float
    """By the first."""
    lost_s: Sequence[float]
    """By each of the others, out of silence."""
    broken_s: Sequence[float]
    """By each neighbor that saw its connection break."""


def detection(asked: Asked) -> Outcome:
    """One node after the other ends and is started again; when do the others know?"""
    deaths: list[Noticed] = []
    for repeat in range(asked.repeats):
        with asked.run(asked.config(CONFIG, repeat)) as run:
            deaths += [_death(run, node) for node in run.nodes]
    lost_s = [took_s for death in deaths for took_s in death.lost_s]
    broken_s = [took_s for death in deaths for took_s in death.broken_s]
    agreed_s = [max(death.lost_s) for death in deaths]
    return Outcome(
        measured=f"preset `{asked.preset}`, {len(deaths)} kills: a survivor takes it for dead "
        f"{spread(lost_s)}; all agree {spread(agreed_s)}; first suspected "
        f"{spread([death.suspected_s for death in deaths])}; broken connections seen after "
        f"{spread(broken_s)}",
        is_met=median(lost_s) <= MEDIAN_S and max(lost_s) <= WORST_S and max(agreed_s) <= AGREE_S,
    )


def _death(run: Chaos, node: str) -> Noticed:
    """Ends a node, and starts it again when everybody knows."""
    run.watch(SETTLE_S)
    others = len(run.nodes) - 1
    gone_s = run.kill([node])
    run.wait(
        f"everybody takes node {node} for dead",
        lambda: len(run.noticed_s("peer_lost", node, gone_s, "silent")) == others,
    )
    noticed = Noticed(
        suspected_s=min(run.noticed_s("peer_suspected", node, gone_s).values()),
        lost_s=[*run.noticed_s("peer_lost", node, gone_s, "silent").values()],
        broken_s=[*run.noticed_s("peer_lost", node, gone_s, "disconnected").values()],
    )
    back_s = run.start_again(node)
    run.wait(
        f"node {node} is back at all its neighbors",
        lambda: {*run.noticed_s("peer_joined", node, back_s)} >= {*neighbors(run, node)},
    )
    return noticed


# -- who comes back --------------------------------------------------------------------------------


def again(asked: Asked) -> Outcome:
    """A node ends and is started again at once; its earlier process calls as well."""
    took_s: list[float] = []
    answers: list[str] = []
    for repeat in range(asked.repeats):
        with asked.run(asked.config(FEW, repeat)) as run:
            run.watch(SETTLE_S)
            boot = boot_of(run, "0", "1")
            took_s += _restarted_s(run, "1")
            answers += [hail(run, other, "1", boot) for other in neighbors(run, "1")]
    kinds = ", ".join(f"{answers.count(kind)} {kind}" for kind in sorted(set(answers)))
    return Outcome(
        measured=f"accepted by a neighbor {spread(took_s)} after it is up; hellos of the former "
        f"process: {kinds}",
        is_met=max(took_s) <= ACCEPTED_S and WELCOMED not in answers,
    )


def _restarted_s(run: Chaos, node: str) -> list[float]:
    """Seconds until each neighbor has accepted a node that was killed and started again."""
    gone_s = run.kill([node])
    run.start_again(node)
    run.wait(
        f"node {node} is back at its neighbors",
        lambda: {*run.noticed_s("peer_joined", node, gone_s)} >= {*neighbors(run, node)},
    )
    up_s = run.logged("node_started", [node], gone_s)[0].wall.timestamp() - gone_s
    return [at_s - up_s for at_s in run.noticed_s("peer_joined", node, gone_s).values()]


def boot_of(run: Chaos, member: str, node: str) -> str:
    """The process that a member takes for a node."""
    rows = ask(run.address(member)).members
    return next(row.boot for row in rows if row.node == node)


def hail(run: Chaos, member: str, node: str, boot: str) -> str:
    """What a member answers to a hello of a node's process that is gone."""
    hello = Hello(
        clock=0,
        protocol=PROTOCOL_VERSION,
        run=run.family.run,
        node=node,
        architecture=run.family.experiment.architecture,
        boot=boot,
    )
    with conversation(run.address(member), ANSWER_S) as say:
        for _ in range(ANSWERS):  # what is believed of the node comes first, if anything
            try:
                answer = say(hello)
            except TransportError:
                return "not answered"
            if isinstance(answer, Welcome):
                return WELCOMED
            if isinstance(answer, Refuse):
                return f"refused ({answer.code})"
    return "told otherwise"


# -- coordinators ----------------------------------------------------------------------------------


def coordinator(asked: Asked) -> Outcome:
    """A coordinator is killed and started again: when does its next round end?"""
    told, worst_s = [], 0.0
    for algorithm in ("fl-gan", "md-gan"):
        for repeat in range(asked.repeats):
            text, took_s = _without_coordinator(asked, algorithm, repeat)
            told.append(text)
            worst_s = max(worst_s, took_s)
    return Outcome(measured="; ".join(told), is_met=worst_s <= AGREE_S)


def _without_coordinator(asked: Asked, algorithm: str, repeat: int) -> tuple[str, float]:
    with asked.run(asked.config(FEW, repeat, algorithm=algorithm)) as run:
        run.watch(5.0)
        gone_s = run.kill([COORDINATOR])
        run.watch(BACKOFF_S)
        last = run.logged("round_finished", [COORDINATOR])[-1]
        run.start_again(COORDINATOR)
        run.wait("a round", lambda: bool(run.logged("round_finished", [COORDINATOR], gone_s)))
        first = run.logged("round_finished", [COORDINATOR], gone_s)[0]
        took_s = first.wall.timestamp() - gone_s
        rounds = [getattr(record.body, "round", 0) for record in (last, first)]
        return f"{algorithm}: round {rounds[0]}, then {rounds[1]} after {took_s:.1f} s", took_s
