"""Many seeds of virtual time with random faults and all checks on; what fails is told in full.

python -m tools.dst --seed 0 --count 200 --jobs 2
"""

import argparse
import multiprocessing
import sys
import time
from functools import partial
from traceback import format_exc
from typing import NamedTuple

import torch

from p2pgan.errors import CheckFailed
from p2pgan.sim.virtual.trial import NODES, TrialResult, trial


class Outcome(NamedTuple):
    """What became of one seed."""

    seed: int
    result: TrialResult | None
    told: str
    """How it failed; empty if it did not."""


def attempt(seed: int, nodes: int, *, watched: bool = False) -> Outcome:
    """One seed."""
    torch.set_num_threads(1)
    try:
        return Outcome(seed, trial(seed, nodes, watched=watched), "")
    except CheckFailed as error:
        return Outcome(seed, None, f"{error}\n{error.story}")
    except Exception:  # noqa: BLE001 - the other seeds are still to be played
        again = f"python -m tools.dst --seed {seed} --nodes {nodes}{' --watched' * watched}"
        return Outcome(seed, None, f"no check, but an error; hint: {again}\n{format_exc()}")


def main() -> int:
    """Plays the seeds; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.dst", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--count", type=int, default=1, help="how many (default: 1)")
    parser.add_argument("--nodes", type=int, default=NODES, help=f"of a run (default: {NODES})")
    parser.add_argument("--watched", action="store_true", help="nodes watch each other as members")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    asked = parser.parse_args()
    begun_s = time.perf_counter()
    failures = events = 0
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        seeds = range(asked.seed, asked.seed + asked.count)
        for outcome in pool.imap(partial(attempt, nodes=asked.nodes, watched=asked.watched), seeds):
            if outcome.result is None:
                failures += 1
                print(f"seed {outcome.seed}: {outcome.told}\n")
            else:
                events += outcome.result.events
    took_s = time.perf_counter() - begun_s
    print(
        f"{asked.count} seeds, {failures} failed; {events:,} events in {took_s:.1f} s: "
        f"{events / took_s:,.0f} a second"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
