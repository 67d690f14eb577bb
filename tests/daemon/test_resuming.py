"""What of a run stays as it was when it goes on."""

from pathlib import Path
from typing import Any

import pytest

from p2pgan.config import RunConfig
from p2pgan.daemon import supervisor
from p2pgan.daemon.resuming import config_of, name_of, ports_of
from p2pgan.daemon.supervisor import UpOptions
from p2pgan.daemon.transport import hold_port, reserve_ports
from p2pgan.errors import ConfigError, RecordError, TransportError
from p2pgan.experiment import prepare
from p2pgan.record.rundir import RunDirectory
from p2pgan.runs import begin


def begun(tmp_path: Path, ports: list[int], name: str = "run") -> RunDirectory:
    """A run directory as `up` leaves it, without logs."""
    config = RunConfig(nodes=2, overlay="ring", iterations=100, device="cpu")
    experiment = prepare(config, tmp_path)
    addresses = {str(i): f"tcp://127.0.0.1:{port}" for i, port in enumerate(ports)}
    overlay = experiment.overlay.with_addresses(addresses)
    return begin(experiment, tmp_path / name, overlay)


def test_all_settings_are_those_of_the_run(tmp_path: Path) -> None:
    directory = begun(tmp_path, [5001, 5002])
    config = config_of(directory, {})
    assert (config.nodes, config.overlay, config.iterations) == (2, "ring", 100)
    assert config.model == "mlp-digits"
    assert ports_of(directory) == {"0": 5001, "1": 5002}


@pytest.mark.parametrize(
    "given",
    [
        {"nodes": 2, "overlay": "ring", "iterations": 100},
        {"daemon": {"drain_s": 1.0}},
        {"score": {"every": 7}},
    ],
)
def test_what_is_the_same_may_be_said_and_how_nodes_wait_and_score_may_change(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    config = config_of(begun(tmp_path, [5001, 5002]), given)
    assert config.daemon.drain_s == given.get("daemon", {}).get("drain_s", 5.0)
    assert config.score.every == given.get("score", {}).get("every", config.score.every)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"iterations": 200}, "`iterations`"),
        ({"overlay": "complete", "seed": 3}, "`overlay`, `seed`"),
        ({"train": {"loss": "hinge"}}, "`train`"),
    ],
)
def test_what_contradicts_the_run_is_refused(
    tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=f"other values of {told}"):
        config_of(begun(tmp_path, [5001, 5002]), given)


def test_a_run_keeps_its_name_wherever_it_lies(tmp_path: Path) -> None:
    directory = begun(tmp_path, [5001, 5002])
    directory.path.rename(tmp_path / "elsewhere")
    assert name_of(RunDirectory(tmp_path / "elsewhere")) == "run"


def test_a_run_without_addresses_is_no_run_of_daemons(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="p2pgan up"):
        ports_of(begun(tmp_path, []))


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    held, ports = reserve_ports(2)
    directory = begun(tmp_path, ports)
    held[1].listen()
    try:
        with pytest.raises(TransportError, match=f"port {ports[1]} of 127.0.0.1 free.*node `1`"):
            supervisor.up(
                config_of(directory, {}),
                tmp_path,
                None,
                on_progress=lambda progress: None,
                say=lambda line: None,
                options=UpOptions(resume=directory),
            )
        again = hold_port(ports[0], at="here")  # nothing is left of the attempt
        again.close()
    finally:
        for reserved in held:
            reserved.close()
    assert directory.event_files() == []
