"""What becomes of runs whose processes are killed, stopped or hang: one figure a line.

python -m tools.measure_reliability kill --repeats 10
python -m tools.measure_reliability hang stop coordinator
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from p2pgan.cli.paths import data_dir
from p2pgan.config import RunConfig, ScoreConfig
from p2pgan.daemon.restarts import BACKOFF_S
from p2pgan.types import COORDINATOR
from tools.chaos import Chaos, TooLate, chaos

ENDLESS: Final = 10**8

BEFORE_S: Final = 15.0
"""How long a run is watched before it is disturbed."""

WINDOW_S: Final = 10.0
"""Exchanges are counted over so long."""

RECOVERY: Final = 0.9
"""Share of the exchanges before, at which a run has recovered."""

KILLED: Final = 3

CONFIG: Final = RunConfig(
    nodes=8,
    iterations=ENDLESS,
    overlay="watts-strogatz:4,0.2",
    device="cpu",
    score=ScoreConfig(every=0, samples=100),
)

FEW: Final = msgspec.structs.replace(CONFIG, nodes=4, overlay="ring")


@contextmanager
def disturbed(config: RunConfig) -> Iterator[Chaos]:
    """A run in a folder that goes with it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        chaos(config, data_dir(), Path(folder) / "run") as run,
    ):
        yield run


def kill(seed: int) -> str:
    """Some nodes end at random moments; what of the others?"""
    rng = np.random.default_rng(seed)
    with disturbed(msgspec.structs.replace(CONFIG, seed=seed)) as run:
        killed = [str(node) for node in rng.permutation(len(run.nodes))[:KILLED]]
        others = [node for node in run.nodes if node not in killed]
        begun_s = time.time()
        run.watch(BEFORE_S)
        before = run.exchanges_per_min(others, begun_s, time.time())
        gone_s = time.time()
        for node in killed:
            run.watch(rng.uniform(0.0, 2.0))
            gone_s = run.kill([node])
        run.wait(
            f"{RECOVERY:.0%} of the exchanges",
            lambda: (
                time.time() >= gone_s + WINDOW_S
                and run.exchanges_per_min(others, time.time() - WINDOW_S, time.time())
                >= RECOVERY * before
            ),
        )
        recovered_s = time.time() - gone_s - WINDOW_S
        after = run.exchanges_per_min(others, time.time() - WINDOW_S, time.time())
        lost = [list(run.noticed_s("peer_lost", node, begun_s)) for node in killed]
        ended = [node for node in others if not Path(f"/proc/{run.pid(node)}").exists()]
        return (
            f"killed {KILLED} of {len(run.nodes)}: {len(ended)} others ended; exchanges a minute "
            f"{before:.0f} before, {after:.0f} after, at {RECOVERY:.0%} within {recovered_s:.1f} s "
            f"and a window of {WINDOW_S:g} s; noticed by {[len(who) for who in lost]} nodes; "
            f"tracebacks: {run.tracebacks()}"
        )


def hang(seed: int) -> str:
    """The training of a node hangs while it answers; when does it say so, and when do others?"""
    with disturbed(msgspec.structs.replace(FEW, seed=seed)) as run:
        begun_s = run.hang("1")
        run.wait("`degraded`", lambda: bool(run.logged("node_degraded", ["1"], begun_s)), 30.0)
        said_s = run.logged("node_degraded", ["1"], begun_s)[0].wall.timestamp() - begun_s
        run.watch(5.0)
        known = run.noticed_s("peer_degraded", "1", begun_s)
        heard = ", ".join(f"{node} after {took_s:.1f} s" for node, took_s in known.items())
        return f"a hung trainer: said after {said_s:.1f} s; heard by {heard or 'nobody'}"


def stop(seed: int) -> str:
    """SIGTERM, Ctrl-C and a second Ctrl-C amid training: how long, and with what status?"""
    told = []
    with disturbed(msgspec.structs.replace(FEW, seed=seed)) as run:
        ways = {
            "SIGTERM": [signal.SIGTERM],
            "Ctrl-C": [signal.SIGINT],
            "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
        }
        for node, (name, signals) in enumerate(ways.items()):
            for number in signals:
                begun_s = run.signal(str(node), number)
                run.watch(0.1)
            status = run.status(str(node))
            took_s = time.time() - begun_s
            run.look()
            saved = bool(run.logged("checkpoint_saved", [str(node)]))
            left = bool(run.logged("node_stopped", [str(node)]))
            told.append(f"{name}: status {status} after {took_s:.1f} s, {saved=}, {left=}")
    return "; ".join(told)


def coordinator(seed: int) -> str:
    """A coordinator is killed and started again: when does its next round end?"""
    return "; ".join(_without_coordinator(algorithm, seed) for algorithm in ("fl-gan", "md-gan"))


def _without_coordinator(algorithm: str, seed: int) -> str:
    config = msgspec.structs.replace(FEW, seed=seed, algorithm=algorithm)
    with disturbed(config) as run:
        run.watch(5.0)
        gone_s = run.kill([COORDINATOR])
        run.watch(BACKOFF_S)
        last = run.logged("round_finished", [COORDINATOR])[-1]
        run.start_again(COORDINATOR)
        run.wait("a round", lambda: bool(run.logged("round_finished", [COORDINATOR], gone_s)))
        first = run.logged("round_finished", [COORDINATOR], gone_s)[0]
        took_s = first.wall.timestamp() - gone_s
        rounds = [getattr(record.body, "round", 0) for record in (last, first)]
        return f"{algorithm}: round {rounds[0]}, then {rounds[1]} after {took_s:.1f} s"


ROWS: Final[Mapping[str, Callable[[int], str]]] = {
    "kill": kill,
    "hang": hang,
    "stop": stop,
    "coordinator": coordinator,
}


def main() -> int:
    """Measures; 1 if something did not come in time."""
    parser = argparse.ArgumentParser(prog="python -m tools.measure_reliability")
    parser.add_argument("rows", nargs="+", choices=ROWS, help="what is done to the runs")
    parser.add_argument("--seed", type=int, default=0, help="of the first run (default: 0)")
    parser.add_argument("--repeats", type=int, default=1, help="seeds (default: 1)")
    asked = parser.parse_args()
    failures = 0
    for row in asked.rows:
        for seed in range(asked.seed, asked.seed + asked.repeats):
            try:
                print(f"{row}, seed {seed}: {ROWS[row](seed)}", flush=True)
            except TooLate as error:
                failures += 1
                print(f"{row}, seed {seed}: FAILED: {error}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
