"""What a comparison shows a person while it goes: on stderr, and never on stdout."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console

from p2pgan.cli.show import STOPPING, RoundBar
from p2pgan.grid import Planned
from p2pgan.inspect.text import count_text, number_text, printable
from p2pgan.record.comparison import Cell
from p2pgan.sim.simulation import Simulation

GOES_ON = "the same command goes on; the run that was interrupted starts again"


class GridProgress:
    """How a comparison goes: a line for each run that is over, and a bar for the one that goes on.

    Runs take about as long as they have node-iterations; what is left is judged by that.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: RoundBar | None = None
        self._done = self._left = 0
        self._number = self._count = 0
        self._start_s = 0.0

    def planned(self, todo: Sequence[Planned], finished: int) -> None:
        there = f"; {count_text(finished, 'run')} already there" if finished else ""
        self._say(f"{count_text(len(todo), 'run')} to train{there}")
        self._count, self._left = len(todo), sum(map(_node_iterations, todo))
        self._start_s = time.monotonic()

    def mixed(self, runs: Sequence[str]) -> None:
        there = f"{count_text(len(runs), 'run')} there"
        self._say(f"{there} of other code than this (commit or versions), such as {runs[0]}")

    def replaced(self, cell: Cell) -> None:
        self._say(f"{cell.run} is not finished: from the start")

    def started(self, planned: Planned) -> None:
        self._number += 1
        self._bar = RoundBar(self._console, f"[{self._number}/{self._count}] {planned.cell.run}: ")
        self._bar.start()

    def on_round(self, simulation: Simulation) -> None:
        if self._bar is not None:
            self._bar.show(simulation)

    def on_interrupt(self) -> None:
        self._console.print(STOPPING)

    def ended(self, planned: Planned, summary: Mapping[str, Any]) -> None:
        self.close()
        self._done += _node_iterations(planned)
        self._left -= _node_iterations(planned)
        head = f"[{self._number}/{self._count}] {planned.cell.run}:"
        if summary["interrupted"]:
            self._say(f"{head} interrupted; {GOES_ON}")
            return
        left_s = (time.monotonic() - self._start_s) / self._done * self._left
        quality, scored = summary.get("quality"), summary["scores"].get("fid", {})
        fid = quality["fid"] if quality else scored
        samples = (quality or scored).get("samples")
        on = f" on {samples:,} samples" if samples else ""
        took = f"{summary['speed']['wall_s']:.0f} s, about {timedelta(seconds=round(left_s))} left"
        self._say(f"{head} FID {number_text(fid.get('mean'))}{on}; {took}")

    def close(self) -> None:
        """Ends the bar, if one is shown."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def _node_iterations(planned: Planned) -> int:
    return planned.cell.nodes * planned.config.iterations


@contextmanager
def grid_progress() -> Iterator[GridProgress]:
    """Who tells on stderr how a comparison goes."""
    progress = GridProgress(Console(stderr=True))
    try:
        yield progress
    finally:
        progress.close()
