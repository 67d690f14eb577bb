"""A node that may open few files and sockets."""

import time
from pathlib import Path
from typing import Final

from p2pgan.daemon import control
from p2pgan.daemon.family import Family
from p2pgan.errors import TransportError
from tools.chaos import DESCRIPTORS, Chaos, put_beside
from tools.reliability.runs import CONFIG, Asked, Outcome

LIMIT: Final = 64
"""Of the row; a node with this overlay needs more than twice as many."""

NODES: Final = 12

WATCHED_S: Final = 30.0

SHORT: Final = "0"
"""Who is kept short."""

WORD: Final = "too few for all neighbors"


def descriptors(asked: Asked) -> Outcome:
    """A node of a complete overlay has not enough descriptors for all its neighbors."""
    config = asked.config(CONFIG, nodes=NODES, overlay="complete")
    with asked.run(config, _keep_short) as run:
        run.watch(WATCHED_S / 2)
        middle_s = time.time()
        run.watch(WATCHED_S / 2)
        opened = run.descriptors(SHORT)
        lines = _stderr(run).count(WORD)
        links = _ready(run)
        mixed = len(run.logged("vector_mixed", [SHORT], middle_s))
        ended = [node for node in run.nodes if not Path(f"/proc/{run.pid(node)}").exists()]
        busy = run.cpu_share(SHORT)
    others = NODES - 1
    return Outcome(
        measured=f"limit {LIMIT}, {opened} open: {links} of {others} neighbors reached, {mixed} "
        f"vectors mixed in {WATCHED_S / 2:g} s, told of {lines} times, {len(ended)} "
        f"ended, {busy:.0%} of a core",
        is_met=not ended and 0 < links < others and mixed > 0 and lines == 1,
    )


def _keep_short(family: Family) -> None:
    put_beside(family, SHORT, DESCRIPTORS, str(LIMIT))


def _stderr(run: Chaos) -> str:
    return run.family.directory.node_events(SHORT).with_name("stderr.log").read_text()


def _ready(run: Chaos) -> int:
    """Neighbors that the node sends to; 0 if it cannot be asked."""
    try:
        answer = run.ask(SHORT, control.PeersRequest())
    except TransportError:
        return 0
    assert isinstance(answer, control.PeersAnswer), "what was asked"
    return sum(row.state == "ready" for row in answer.peers)
