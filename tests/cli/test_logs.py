"""`p2pgan logs`, on a short run."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from p2pgan.cli.logs import app
from p2pgan.errors import RecordError
from p2pgan.record.rundir import RunDirectory
from p2pgan.record.schema import (
    NodeStarted,
    RoundFinished,
    Tally,
    Traffic,
    VectorReceived,
    VectorSent,
)
from p2pgan.record.writer import RecordWriter


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Two nodes, one vector from `n1` to `n2`, and 30 more records of `n2`."""
    directory = RunDirectory.create(tmp_path / "run", name="")
    directory.run_toml.write_text('algorithm = "gossip"\n')
    seconds = iter(range(10**6))
    start = datetime(2031, 1, 1, tzinfo=UTC)
    vector: dict[str, Any] = {"round": 1, "nets": ["G"], "bytes": 64, "exchange": "e"}
    with RecordWriter(
        directory.events,
        "trial",
        "n2",
        wall=lambda: start + timedelta(seconds=next(seconds)),
        time_s=lambda: 0.0,
    ) as writer:
        writer.write(VectorSent(peer="n2", **vector), node="n1")
        writer.write(VectorReceived(peer="n1", **vector))
        for pid in range(30):
            writer.write(NodeStarted(pid=pid))
    return directory


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def output(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_summary(run: RunDirectory) -> None:
    text = output("summary", run.path)
    assert text.startswith("run trial: algorithm gossip\n2 nodes,")
    assert "warning: nothing reached node `n1`" in text
    assert "\x1b" not in text


def test_summary_as_json(run: RunDirectory) -> None:
    document = json.loads(output("summary", run.path, "--json"))
    assert (document["sent"], document["received"], document["unaccounted"]) == (1, 1, [])


def test_a_single_log_will_do(run: RunDirectory) -> None:
    assert json.loads(output("summary", run.events, "--json"))["records"] == 32


def test_tail_shows_the_last_records(run: RunDirectory) -> None:
    lines = output("tail", run.path).splitlines()
    assert len(lines) == 20
    assert lines[-1] == "00:00:31.000 n2       node_started     pid=29"
    assert len(output("tail", run.path, "--last", 0).splitlines()) == 32
    assert len(output("tail", run.path, "--last", 3).splitlines()) == 3


def test_tail_chooses(run: RunDirectory) -> None:
    (line,) = output("tail", run.path, "--node", "n1").splitlines()
    assert "vector_sent" in line
    lines = output(
        "tail", run.path, "--kind", "vector_sent", "--kind", "vector_received"
    ).splitlines()
    assert [line.split()[2] for line in lines] == ["vector_sent", "vector_received"]
    assert output("tail", run.path, "--node", "n1", "--kind", "scores") == ""


def test_tail_as_json_is_one_document(run: RunDirectory) -> None:
    document = json.loads(output("tail", run.path, "--last", 2, "--json"))
    assert [(record["node"], record["pid"]) for record in document] == [("n2", 28), ("n2", 29)]
    assert output("tail", run.path, "--kind", "scores", "--json") == "[]\n"


def test_tail_cannot_follow_into_one_document(run: RunDirectory) -> None:
    result = invoke("tail", run.path, "--follow", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""


def test_tail_follows_until_interrupted(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run.events.read_bytes()
    cut = whole[:-1].rfind(b"\n") + 10
    run.events.write_bytes(whole[:cut])
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt
        with run.events.open("ab") as file:
            file.write(whole[cut:])

    monkeypatch.setattr(time, "sleep", sleep)
    result = invoke("tail", run.path, "-f", "--last", 2)
    assert result.exit_code == 130
    assert [line.split("=")[1] for line in result.stdout.splitlines()] == ["27", "28", "29"]
    assert result.stderr == ""


def test_exchanges(run: RunDirectory) -> None:
    lines = output("exchanges", run.path, "--what", "bytes").splitlines()
    assert lines[1].split() == ["n1", ".", "64", "B"]
    assert output("exchanges", run.path, "--nets", "D") == "no vectors on record\n"


def test_exchanges_as_json(run: RunDirectory) -> None:
    document = json.loads(output("exchanges", run.path, "--what", "staleness", "--json"))
    assert document["nodes"] == ["n1", "n2"]
    assert document["matrix"] == [[None, None], [None, None]]
    assert (document["what"], document["nets"]) == ("staleness", None)
    (edge,) = document["edges"]
    assert (edge["sender"], edge["receiver"], edge["received"]) == ("n1", "n2", 1)
    assert [row["node"] for row in document["per_node"]] == ["n1", "n2"]


@pytest.mark.parametrize(
    "arguments",
    [("--what", "colour"), ("--nets", "X"), ("--last", "-1")],
)
def test_wrong_options_are_usage_errors(run: RunDirectory, arguments: tuple[str, str]) -> None:
    command = "tail" if arguments[0] == "--last" else "exchanges"
    assert invoke(command, run.path, *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["summary", "tail", "exchanges", "traffic"])
def test_what_is_no_run_is_an_error(tmp_path: Path, command: str) -> None:
    result = invoke(command, tmp_path)
    assert isinstance(result.exception, RecordError)
    assert str(tmp_path) in str(result.exception)


def test_traffic(run: RunDirectory) -> None:
    """A `run.toml` that names no model says nothing to predict from."""
    lines = output("traffic", run.path).splitlines()
    assert lines[1].split()[:5] == ["mix", "N→N", "1", "-", "64"]
    assert len(lines) == 2


def test_traffic_as_json(run: RunDirectory) -> None:
    run.run_toml.write_text(
        'algorithm = "fl-gan"\nmodel = "mlp-digits"\nnodes = 2\nbatch_size = 16\n'
        "exchange_every = 20\n[run]\nname = 'trial'\n"
    )
    document = json.loads(output("traffic", run.path, "--json"))
    assert document["kinds"]["mix"]["payload_bytes"] == 64
    assert document["kinds"]["model"]["predicted"] == {
        "messages": 0,
        "payload_bytes": 0,
        "is_most": False,
    }
    assert document["communication"]["worker_sends"] == 4 * (28_992 + 24_961)
    assert document["communication"]["with_coordinator"] == 150


def test_traffic_of_md_gan(tmp_path: Path) -> None:
    """As its simulator logs it: two workers, half of its iterations, a round with one move."""
    directory = RunDirectory.create(tmp_path / "run", name="")
    directory.run_toml.write_text(
        'algorithm = "md-gan"\nmodel = "mlp-digits"\nnodes = 2\nbatch_size = 16\n'
        "exchange_every = 3\niterations = 6\n"
    )
    batch, discriminator = 4 * 16 * 64, 4 * 3 * 24_961
    made: dict[str, dict[str, tuple[int, int]]] = {
        "coordinator": {"batches": (6, 2 * batch)},
        "0": {"feedback": (3, batch), "move": (1, discriminator)},
        "1": {"feedback": (3, batch)},
    }
    wall = datetime(2031, 1, 1, tzinfo=UTC)
    with RecordWriter(
        directory.events, "trial", "", wall=lambda: wall, time_s=lambda: 0.0
    ) as writer:
        writer.write(RoundFinished(round=1, iterations=3), node="coordinator")
        for node, kinds in made.items():
            sent = {
                kind: Tally(messages=messages, payload_bytes=messages * size)
                for kind, (messages, size) in kinds.items()
            }
            writer.write(Traffic(round=1, sent=sent, received={}), node=node)
    document = json.loads(output("traffic", directory.path, "--json"))
    assert {kind: row["ratio"] for kind, row in document["kinds"].items()} == {
        "batches": 1,
        "feedback": 1,
        "move": 0.5,
    }
    rows = output("traffic", directory.path).splitlines()[1:4]
    assert [row.split()[:4] for row in rows] == [
        ["batches", "C→W", "6", "6"],
        ["feedback", "W→C", "6", "6"],
        ["move", "W→W", "1", "2"],
    ]
