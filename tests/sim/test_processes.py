"""Real processes over gloo on loopback: what threads for ranks cannot show."""

import json
import os
import runpy
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from p2pgan.config import config_from
from p2pgan.daemon.forks import warm_up
from p2pgan.errors import RankLostError
from p2pgan.gan.checkpoint import load
from p2pgan.gan.models import model
from p2pgan.record.reader import read
from p2pgan.sim.processes import Place, joined
from p2pgan.sim.run import simulate
from p2pgan.types import NETS

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from p2pgan.config import config_from
from p2pgan.daemon.forks import listen
from p2pgan.errors import P2PGanError
from p2pgan.sim.processes import Place, joined
from p2pgan.sim.run import simulate

os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
torch.set_num_threads(1)
listen()
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the parent does
config = config_from(settings, at="test")

def look(run):
    if run.round <= 10:
        pipe.send(run.round)

try:
    with joined(Place(**place), "cpu", config.engine.rank_timeout_s) as ranks:
        if sleeps:
            pipe.send("joined")
            signal.pause()
        finished = simulate(config, Path("nowhere"), Path(out), look, ranks=ranks)
except P2PGanError as error:
    pipe.send(f"error: {error}")
    sys.exit(1)
sys.exit(130 if finished.summary["interrupted"] else 0)
"""

SETTINGS = {
    "nodes": 5,
    "exchange_every": 10,
    "device": "cpu",
    "score": {"samples": 50, "every": 0},
    "engine": {"checkpoint_every": 2, "rank_timeout_s": 60},
}
ENDLESS = 1_000_000

pytestmark = pytest.mark.slow


class Rank:
    """One process of a run, which tells of its first rounds and of its error."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self.process, self._pipe = process, pipe

    def wait_for(self, word: object) -> None:
        while (told := self._pipe.recv()) != word:
            assert isinstance(told, int), told

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def end(self) -> tuple[int | None, str]:
        """Exit status and error."""
        self.process.join(100)
        error = ""
        while self._pipe.poll():
            try:
                told = self._pipe.recv()
            except EOFError:
                break
            error = told if isinstance(told, str) else error
        return self.process.exitcode, error.removeprefix("error: ")


Start = Callable[..., list[Rank]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the processes of one run, which is in `tmp_path / "run"`."""
    started: list[Rank] = []
    context = warm_up()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def start(count: int = 2, sleeping: int | None = None, **settings: Any) -> list[Rank]:
        for rank in range(count):
            place = {
                "rank": rank,
                "count": count,
                "local_rank": rank,
                "local_count": count,
                "meeting": f"file://{tmp_path}/meeting",
            }
            ours, theirs = context.Pipe()
            told = {
                "place": place,
                "settings": SETTINGS | settings,
                "out": str(tmp_path / "run"),
                "sleeps": rank == sleeping,
                "pipe": theirs,
            }
            process = context.Process(target=runpy.run_path, args=(str(program), told))
            process.start()
            theirs.close()
            started.append(Rank(process, ours))
        return started

    yield start
    for rank in started:
        rank.process.kill()
        rank.process.join()


def saved(tmp_path: Path) -> list[int]:
    """Iterations of every node's checkpoint."""
    paths = [tmp_path / f"run/nodes/{node}/checkpoint.safetensors" for node in range(5)]
    return [load(path, model("mlp-digits")).iterations for path in paths]


def vectors_of(run: Path) -> Tensor:
    """Both networks of every node, one row each."""
    paths = [run / f"nodes/{node}/checkpoint.safetensors" for node in range(5)]
    saved = [load(path, model("mlp-digits")).vectors for path in paths]
    return torch.stack([torch.cat([vectors[net] for net in NETS]) for vectors in saved])


def test_two_processes_compute_what_one_does(start: Start, tmp_path: Path) -> None:
    """Every vector goes over a socket and back into training; a wrong one would show."""
    assert [rank.end() for rank in start(iterations=40)] == [(0, "")] * 2
    settings = config_from(SETTINGS | {"iterations": 40}, at="test")
    alone = simulate(settings, Path(), tmp_path / "alone", lambda simulation: None)
    two, one = vectors_of(tmp_path / "run"), vectors_of(alone.directory.path)
    assert (two - one).norm() < 1e-2 * (one[0] - one[1]).norm()  # far nearer than two nodes are


def test_two_processes_are_one_run(start: Start, tmp_path: Path) -> None:
    """Five nodes on two ranks: one log with everybody's records, everybody's checkpoint."""
    assert [rank.end() for rank in start(iterations=40)] == [(0, "")] * 2
    kinds = [record.kind for record in read(tmp_path / "run/events.jsonl")]
    assert (kinds.count("round_finished"), kinds.count("scores")) == (20, 5)
    assert kinds.count("vector_sent") == kinds.count("vector_mixed") > 0
    assert saved(tmp_path) == [40] * 5


def test_who_loses_a_process_says_so_and_checkpoints_are_whole(
    start: Start, tmp_path: Path
) -> None:
    """A machine that dies at night must not leave the others waiting, or the disk in pieces."""
    first, second = start(iterations=ENDLESS)
    second.wait_for(3)
    second.send_signal(signal.SIGKILL)
    status, error = first.end()
    assert status == 1
    assert "\n" not in error
    assert error.startswith(
        "expected all 2 processes to go on, got a connection that another process has closed - "
        "at rank 0, after "
    )
    assert f"or later are in {tmp_path}/run/nodes" in error
    iterations = int(error.split("networks after ")[1].split()[0])
    assert iterations >= 20
    assert min(saved(tmp_path)) >= iterations


def test_the_first_process_may_be_the_lost_one(start: Start, tmp_path: Path) -> None:
    first, second = start(iterations=ENDLESS)
    second.wait_for(3)
    first.send_signal(signal.SIGKILL)
    status, error = second.end()
    assert status == 1
    assert "at rank 1, after" in error
    assert min(saved(tmp_path)) >= 20


def test_sigterm_is_told_in_one_line_by_all(start: Start) -> None:
    """As `torchrun` sends it to the others when a process has ended."""
    ranks = start(iterations=ENDLESS, engine={})
    ranks[0].wait_for(1)
    ranks[0].send_signal(signal.SIGTERM)
    ends = [rank.end() for rank in ranks]
    assert [status for status, _ in ends] == [1, 1], ends
    assert "got SIGTERM" in ends[0][1]
    assert "another process has closed" in ends[1][1]
    assert all("nothing was saved yet; `engine.checkpoint_every`" in error for _, error in ends)


def test_an_interrupt_of_one_process_ends_all_in_good_order(start: Start, tmp_path: Path) -> None:
    first, second = start(iterations=ENDLESS)
    second.wait_for(1)
    second.send_signal(signal.SIGINT)
    assert [first.end(), second.end()] == [(130, "")] * 2
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["interrupted"]
    assert saved(tmp_path) == [summary["iterations"]] * 5


def test_who_is_silent_for_too_long_is_lost(start: Start) -> None:
    """A machine that hangs, or a cable that is cut, closes no connection."""
    first, second = start(sleeping=1, iterations=10, engine={"rank_timeout_s": 3})
    second.wait_for("joined")
    status, error = first.end()
    assert status == 1
    assert "got nothing for 3 s - at rank 0, after 0 rounds" in error


def test_who_waits_for_processes_that_never_come_gives_up(tmp_path: Path) -> None:
    place = Place(
        rank=0, count=2, local_rank=0, local_count=2, meeting=f"file://{tmp_path}/meeting"
    )
    with pytest.raises(RankLostError, match="2 processes that meet"), joined(place, "cpu", 0.5):
        pass
    assert not distributed.is_initialized()


def test_one_process_by_itself_is_a_group_too(tmp_path: Path) -> None:
    """The group is taken down again, so that another run can follow in the same process."""
    for name in ("one", "two"):
        place = Place(
            rank=0, count=1, local_rank=0, local_count=1, meeting=f"file://{tmp_path}/{name}"
        )
        with joined(place, "cpu", 30) as ranks:
            assert ranks.agree(True)
            values = torch.tensor([1.5, float("nan")], dtype=torch.float64)
            assert ranks.link.add(values).tolist()[0] == 1.5
            assert values is not ranks.link.add(values)
            assert ranks.link.swap({}, {}) == []
        assert not distributed.is_initialized()


def test_without_a_place_there_is_no_group() -> None:
    with joined(None, "auto", 1) as ranks:
        assert ranks.is_alone
        assert not distributed.is_initialized()
