"""A node that comes to a run that has trained for long."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import Final

import msgspec

from p2pgan.config import ScoreConfig
from p2pgan.daemon import control
from p2pgan.daemon.transport import hold_port
from p2pgan.record.schema import Scores
from tools.chaos import Chaos
from tools.reliability.runs import CONFIG, Asked, Outcome

TRAINED_ROUNDS: Final = 300
"""Of every member, before somebody comes."""

ROUNDS: Final = 5
"""Of the newcomer, before it is compared."""

SAMPLES: Final = 500

BAR: Final = 1.2

NAME: Final = "newcomer"

LEAVE_S: Final = 20.0

CONFIG_20: Final = msgspec.structs.replace(
    CONFIG, exchange_every=20, score=ScoreConfig(every=0, samples=SAMPLES)
)


def late(asked: Asked) -> Outcome:
    """A newcomer's generator some rounds after it has come, against the members' mean."""
    shares: list[float] = []
    first_s: list[float] = []
    for repeat in range(asked.repeats):
        with asked.run(asked.config(CONFIG_20, repeat)) as run:
            run.wait("training", lambda: _rounds(run, run.nodes) >= TRAINED_ROUNDS, 600.0)
            run.follow(NAME)
            with _coming(run):
                run.wait("the newcomer's rounds", lambda: _rounds(run, [NAME]) >= ROUNDS)
                up, first = run.logged("node_started", [NAME]), run.logged("vector_mixed", [NAME])
                first_s.append((first[0].wall - up[0].wall).total_seconds())
                fids = _fids(run, [*run.nodes, NAME])
        shares.append(fids.pop(NAME) / fmean(fids.values()))
    told = ", ".join(f"{share:.2f}" for share in shares)
    return Outcome(
        measured=f"{asked.repeats} times, after {TRAINED_ROUNDS} rounds of the members and "
        f"{ROUNDS} of the newcomer: FID ({SAMPLES:,} images) {told} times the members' mean; first "
        f"vector mixed at most {max(first_s):.1f} s after it was up",
        is_met=max(shares) <= BAR,
    )


def _rounds(run: Chaos, nodes: list[str]) -> int:
    """Rounds that all of these have made."""
    return min(len(run.logged("round_finished", [node])) for node in nodes)


@contextmanager
def _coming(run: Chaos) -> Iterator[None]:
    """A process that joins by the first node's address, and leaves in the end."""
    held = hold_port(0, at="a newcomer")
    own = f"tcp://127.0.0.1:{held.getsockname()[1]}"
    words = ["--join", run.address("0"), "--address", own, "--id", NAME, "--device", "cpu"]
    words += ["--out", str(run.family.directory.path)]
    error = run.family.directory.path / f"{NAME}.err"
    with held, error.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "p2pgan", "node", "start", *words], stdout=file, stderr=file
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _fids(run: Chaos, nodes: list[str]) -> dict[str, float]:
    """What the generators of these nodes are worth now."""
    asked_s = time.time()
    for node in nodes:
        run.ask(node, control.ScoresRequest(now=True))
    run.wait("scores", lambda: {r.node for r in run.logged("scores", nodes, asked_s)} >= {*nodes})
    bodies = {record.node: record.body for record in run.logged("scores", nodes, asked_s)}
    return {
        node: body.fid
        for node, body in bodies.items()
        if isinstance(body, Scores) and body.fid is not None
    }
