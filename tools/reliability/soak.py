"""A long run in which somebody always dies."""

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from tools.chaos import Chaos
from tools.reliability.runs import QUIET, Asked, Outcome, least_squares

WARM_S: Final = 300.0
"""What a process takes in the beginning does not count; of shorter runs a third."""

EVERY_S: Final = 60.0
"""Between two deaths."""

DOWN_S: Final = 5.0
"""Until who was killed is started again."""

SAMPLE_S: Final = 5.0

MIB: Final = 2.0**20

SLOPE_MIB: Final = 1.0
"""A minute, at most."""

SLACK: Final = 5
"""Descriptors more or less."""

Series = Mapping[float, float]
"""Values by wall time."""


def soak(asked: Asked) -> Outcome:
    """One of a half of the nodes is killed and started again every minute, in turn."""
    end_s = 60.0 * asked.minutes
    warm_s = min(WARM_S, end_s / 3)
    with asked.run(asked.config(QUIET)) as run:
        victims, others = run.nodes[: len(run.nodes) // 2], run.nodes[len(run.nodes) // 2 :]
        memory: dict[str, dict[float, float]] = defaultdict(dict)
        files: dict[str, dict[float, float]] = defaultdict(dict)
        begun_s, deaths = time.time(), 0
        while (now_s := time.time()) < begun_s + end_s:
            if now_s - begun_s >= EVERY_S * (deaths + 1):
                node = victims[deaths % len(victims)]
                run.kill([node])
                run.watch(DOWN_S)
                run.start_again(node)
                deaths += 1
            run.watch(SAMPLE_S)
            if time.time() < begun_s + warm_s:
                continue
            for node in others:
                memory[node][time.time()] = run.rss_bytes(node) / MIB
                files[node][time.time()] = run.descriptors(node)
            _tell(deaths, memory)
        tracebacks, false = run.tracebacks(), _false_deaths(run, others)
    slopes = [60.0 * least_squares(memory[node]) for node in others]
    swings = [max(files[node].values()) - min(files[node].values()) for node in others]
    drift = [60.0 * least_squares(files[node]) for node in others]
    return Outcome(
        measured=f"{asked.minutes:g} minutes, {deaths} deaths among {len(victims)} nodes; of the "
        f"{len(others)} that lived on, after {warm_s / 60:.1f} minutes: memory "
        f"{min(slopes):+.2f} to {max(slopes):+.2f} MiB a minute and node, at most "
        f"{max(max(series.values()) for series in memory.values()):.0f} MiB; descriptors "
        f"{min(drift):+.2f} to {max(drift):+.2f} a minute, within {max(swings):.0f}; tracebacks at "
        f"{len(tracebacks)} nodes; {false} of those taken for dead",
        is_met=max(slopes) < SLOPE_MIB and not tracebacks,
    )


def _false_deaths(run: Chaos, others: list[str]) -> int:
    lost = run.logged("peer_lost")
    bodies = [record.body for record in lost if getattr(record.body, "reason", "") == "silent"]
    return sum(getattr(body, "peer", "") in others for body in bodies)


def _tell(deaths: int, memory: Mapping[str, Series]) -> None:
    slopes = ", ".join(
        f"{node}: {[*series.values()][-1]:.1f} MiB {60.0 * least_squares(series):+.2f}"
        for node, series in memory.items()
    )
    print(f"{deaths} deaths; {slopes}", file=sys.stderr, flush=True)
