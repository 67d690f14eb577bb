"""Coming to a run that is under way."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from p2pgan.config import RunConfig, ScoreConfig, to_toml
from p2pgan.daemon import joining
from p2pgan.daemon.family import Family
from p2pgan.daemon.supervisor import UpOptions, gathered
from p2pgan.daemon.transport import Transport, reserve_ports
from p2pgan.errors import ConfigError, OverlayError, TransportError
from p2pgan.overlay import nodelink
from p2pgan.overlay.generate import generate
from p2pgan.protocol.charter import Charter
from p2pgan.protocol.messages import Member
from p2pgan.record.rundir import RunDirectory, records_of
from p2pgan.record.schema import (
    NodeStarted,
    NodeStopped,
    OverlayChanged,
    RoundFinished,
    VectorMixed,
    VectorReceived,
)

CONFIG = RunConfig(
    algorithm="gossip",
    nodes=3,
    overlay="ring",
    iterations=1_000_000,
    device="cpu",
    score=ScoreConfig(samples=20, every=0),
)

Until = Callable[[Callable[[], Any]], Any]


def address(node: str) -> str:
    return f"tcp://10.0.0.{1 + int(node)}:5550"


def charter(*members: Member) -> Charter:
    overlay = generate("ring", 4, np.random.default_rng(0))
    overlay = overlay.with_addresses({node: address(node) for node in overlay.nodes})
    base = [Member(node=node, address=address(node)) for node in overlay.nodes]
    told = {row.node: row for row in (*base, *members)}
    return Charter(
        run="run",
        config=to_toml(CONFIG),
        overlay=nodelink.render(overlay).decode(),
        members=tuple(told.values()),
    )


def test_who_comes_is_the_last_of_those_who_came() -> None:
    new = joining.newcomer(charter(Member(node="x", since=3, state="dead")), "y")
    assert (new.node, new.since) == ("y", 4)
    assert joining.grown(new).nodes == ("0", "1", "2", "3", "x", "y")


def test_who_has_been_there_keeps_its_place() -> None:
    gone = Member(node="x", since=3, state="dead", boot="former", address="tcp://10.0.0.9:1")
    new = joining.newcomer(charter(gone, Member(node="z", since=5)), "x")
    assert new.since == 3
    back = joining.newcomer(charter(Member(node="2", state="left", boot="former")), "2")
    assert (back.since, joining.grown(back).nodes) == (0, ("0", "1", "2", "3"))


def test_an_id_that_is_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--id.*another one"):
        joining.newcomer(charter(Member(node="1", boot="there")), "1")


def test_who_has_no_name_gets_one() -> None:
    names = {joining.newcomer(charter(), None).node for _ in range(5)}
    assert len(names) > 1


def test_what_is_of_one_machine_is_not_taken_over() -> None:
    settings = joining.settings_of(charter())
    assert settings["iterations"] == 1_000_000
    assert not {"daemon", "overlay", "device", "membership"} & settings.keys()


def test_an_overlay_that_is_none_is_refused() -> None:
    told = msgspec.structs.replace(charter(), overlay="[]")
    with pytest.raises(OverlayError, match="overlay of the run"):
        joining.newcomer(told, "x")


def test_nobody_listens() -> None:
    held, (port,) = reserve_ports(1)
    with pytest.raises(TransportError, match="refused"):
        joining.ask(f"tcp://127.0.0.1:{port}", timeout_s=600)
    held[0].close()


def test_nobody_answers() -> None:
    """Whoever listens there admits nobody."""
    silent = Transport("tcp://127.0.0.1:*", {})
    with pytest.raises(TransportError, match="does it admit newcomers"):
        joining.ask(silent.address, timeout_s=0.2)
    silent.close(0)


@pytest.fixture
def family(tmp_path: Path, until: Until) -> Iterator[Family]:
    """Three daemons that train and have exchanged."""
    with gathered(CONFIG, tmp_path, tmp_path / "run", UpOptions()) as found:
        found.start()
        directory = found.directory
        until(lambda: directory.event_files() and len(bodies(directory, RoundFinished)) > 6)
        yield found


def bodies(directory: RunDirectory, kind: type, node: str | None = None) -> list[Any]:
    return [
        record.body
        for record in records_of(directory)
        if isinstance(record.body, kind) and node in (None, record.node)
    ]


@pytest.mark.timeout(180)
def test_a_node_comes_to_daemons_that_run(family: Family, tmp_path: Path, until: Until) -> None:
    """It is told of the run, given networks, and joined with others, who hear of it."""
    member = bodies(family.directory, NodeStarted)[0].address
    command = [
        *(sys.executable, "-m", "p2pgan", "node", "start", "--join", member, "--id", "new"),
        *("--address", "tcp://127.0.0.1:*", "--out", str(tmp_path / "new")),
    ]
    environment = {**os.environ, "P2PGAN_DATA_DIR": str(tmp_path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        own = RunDirectory(tmp_path / "new")
        until(lambda: own.node_events("new").exists() and bodies(own, RoundFinished))
        gifts = [body for body in bodies(own, VectorReceived) if body.purpose == "gift"]
        assert len(gifts) == 1
        assert bodies(own, VectorMixed)[0].exchange == gifts[0].exchange
        assert bodies(own, RoundFinished)[0].iterations > 20 * gifts[0].round
        until(
            lambda: all(
                any(body.nodes == 4 for body in bodies(family.directory, OverlayChanged, node))
                for node in "012"
            )
        )
        until(lambda: [b for b in bodies(family.directory, VectorMixed) if b.peer == "new"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert bodies(own, NodeStopped)[0].reason == "terminated"
    finally:
        process.kill()
        process.communicate()
