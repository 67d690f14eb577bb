"""What lies in tools/deploy for running nodes for real, as far as it can be tried out here."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from p2pgan.cli.options import Sources
from p2pgan.daemons import http_place
from p2pgan.overlay import files as overlay_files
from p2pgan.overlay.graph import Overlay
from tests.docs.test_examples import parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "tools" / "deploy"

PEERS, HEALTH = 5550, 9464
"""Ports, the same everywhere."""

STARTS = "start-node.sh"


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def cluster() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


def container() -> dict[str, Any]:
    (found,) = cluster()["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def unit() -> configparser.ConfigParser:
    """The unit with the last of each repeated key."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "p2pgan@.service")
    return parser


def after_start(command: str) -> list[str]:
    """What a shell would hand to `start-node.sh`; values that are not known here stand for 0."""
    words = shlex.split(re.sub(r"%i|\"?\$\{HOSTNAME##\*-\}\"?|\$node", "0", command))
    place = next(i for i, word in enumerate(words) if word.endswith(STARTS))
    return words[place + 1 :]


def starts() -> Iterator[tuple[str, list[str]]]:
    """Every call of `start-node.sh`, with the file that it stands in."""
    yield "p2pgan@.service", after_start(unit()["Service"]["ExecStart"])
    yield "kubernetes.yaml", after_start(container()["args"][0])
    for name, service in compose()["services"].items():
        yield f"compose.yaml {name}", list(service["command"])
    script = (DEPLOY / "slurm.sh").read_text().replace("\\\n", " ").replace('"$@"', "")
    (line,) = [line for line in script.splitlines() if line.startswith("exec ")]
    yield "slurm.sh", after_start(line)


@pytest.fixture
def shims(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment in which `p2pgan` is this script."""

    def make(script: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        path = folder / "p2pgan"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        path_variable = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path_variable, "PYTHONPATH": str(ROOT)}

    return make


@pytest.mark.parametrize("is_again", [False, True])
@pytest.mark.parametrize(("where", "words"), list(starts()), ids=[where for where, _ in starts()])
def test_a_start_is_a_command_line(
    tmp_path: Path,
    shims: Callable[[str], dict[str, str]],
    where: str,
    words: list[str],
    is_again: bool,
) -> None:
    """As the shell makes it, the first time and the next."""
    node, _, *options = words
    if is_again:
        log = tmp_path / "run" / "nodes" / node / "events.jsonl"
        log.parent.mkdir(parents=True)
        log.touch()
    done = subprocess.run(
        [DEPLOY / STARTS, node, str(tmp_path / "run"), *options],
        env=shims('printf "%s\\n" "$@"'),
        capture_output=True,
        text=True,
        check=True,
    )
    told = tuple(done.stdout.splitlines())
    parse(told)
    assert told[:2] == ("node", "start")
    assert ("--resume" in told) == is_again
    assert told[told.index("--id") + 1] == node


HINTED = re.compile(r"^#   \$ (.*p2pgan node .*)$", re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [line for path in sorted(DEPLOY.iterdir()) for line in HINTED.findall(path.read_text())],
)
def test_what_the_headers_tell_people_to_type_is_understood(line: str) -> None:
    words = shlex.split(line.replace("/opt/p2pgan/bin/", ""))
    parse(tuple(words[len(words) - words[::-1].index("p2pgan") :]) if "node" in words else ())


def test_every_file_says_what_is_tested_and_what_is_not() -> None:
    paths = [path for path in DEPLOY.iterdir() if path.suffix != ".json"]
    assert len(paths) == 6
    for path in paths:
        text = path.read_text()
        assert "# Tested (tests/tools/test_deploy.py)" in text, path
        assert "UNTESTED: " in text or path.name == STARTS, path


# -- systemd ---------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Its programs lie elsewhere than on the machine that it is for."""
    text = (DEPLOY / "p2pgan@.service").read_text().replace("/opt/p2pgan/bin/", f"{DEPLOY}/")
    path = tmp_path / "p2pgan@.service"
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True
    )
    assert "p2pgan" not in done.stderr, done.stderr
    path.write_text(text.replace("Type=notify", "Type=nonsense"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True
    )
    assert "p2pgan" in done.stderr, "it would see a mistake"


def test_the_unit_waits_long_enough_and_starts_again() -> None:
    service = unit()["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
    config = Sources({}).config()
    assert float(service["TimeoutStopSec"]) > config.daemon.drain_s + 10
    assert float(service["WatchdogSec"]) > 12 * config.daemon.stalled_s
    assert "MemoryMax" in service


def test_the_unit_s_variables_are_settings() -> None:
    lines = (DEPLOY / "p2pgan@.service").read_text().splitlines()
    pairs = [line.split("=", 1)[1] for line in lines if line.startswith("Environment=")]
    variables = dict(pair.split("=", 1) for pair in pairs)
    config = Sources({}, environment=variables).config()
    assert http_place(config.daemon.http) == ("127.0.0.1", HEALTH)
    assert variables["XDG_RUNTIME_DIR"].removeprefix("%t/") == unit()["Service"]["RuntimeDirectory"]


# -- containers ------------------------------------------------------------------------------------


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def check_overlay(overlay: Overlay, names: dict[str, str]) -> None:
    """Every node is where its container is."""
    assert set(overlay.nodes) == set(names)
    for node, host in names.items():
        address = urlsplit(overlay.address(node) or "")
        assert (address.hostname, address.port) == (host, PEERS)


def check_ports(words: list[str]) -> None:
    assert urlsplit(option(words, "--address")).port == PEERS
    assert http_place(option(words, "--http")) == ("0.0.0.0", HEALTH)


def test_compose_and_its_overlay_agree() -> None:
    services = compose()["services"]
    names = {service["command"][0]: name for name, service in services.items()}
    check_overlay(overlay_files.read(DEPLOY / "overlay.json"), names)
    for name, service in services.items():
        check_ports(service["command"])
        overlay, state = service["volumes"]
        assert overlay.startswith("./overlay.json:")
        assert option(service["command"], "--overlay") == overlay.split(":")[1]
        assert state.split(":")[0] == name, "each has a disk of its own"
        assert service["command"][1].startswith(state.split(":")[1])
        assert service["build"]["dockerfile"] == "tools/deploy/Dockerfile"
    assert set(compose()["volumes"]) == set(services)


def test_the_image_has_what_it_needs_and_asks_what_a_node_answers() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    assert all((ROOT / path).exists() for paths in copied for path in paths)
    project = (ROOT / "pyproject.toml").read_text()
    assert '"topologies" = ' in project
    assert f"http://127.0.0.1:{HEALTH}/healthz" in text
    assert f"EXPOSE {PEERS} {HEALTH}" in text
    assert f'ENTRYPOINT ["{STARTS}"]' in text


def test_the_cluster_s_names_ports_and_probes_agree(tmp_path: Path) -> None:
    found = cluster()
    spec, service = found["StatefulSet"]["spec"], found["Service"]
    tables = found["ConfigMap"]["data"]
    path = tmp_path / "overlay.json"
    path.write_text(tables["overlay.json"])
    pods = {str(i): f"p2pgan-{i}.{spec['serviceName']}" for i in range(spec["replicas"])}
    check_overlay(overlay_files.read(path), pods)
    assert service["metadata"]["name"] == spec["serviceName"]
    assert service["spec"]["clusterIP"] == "None"
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == spec["selector"]["matchLabels"] == labels
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"peers": PEERS, "health": HEALTH}
    assert ports == {port["name"]: port["port"] for port in service["spec"]["ports"]}
    for probe, path_ in (("startup", "healthz"), ("liveness", "healthz"), ("readiness", "readyz")):
        asked = container()[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": f"/{path_}", "port": "health"}
    check_ports(after_start(container()["args"][0]))


def test_the_cluster_s_settings_and_places_are_real(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(cluster()["ConfigMap"]["data"]["run.toml"])
    assert Sources({}, file=path).config().algorithm == "gossip"
    pod = cluster()["StatefulSet"]["spec"]["template"]["spec"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    claims = cluster()["StatefulSet"]["spec"]["volumeClaimTemplates"]
    volumes |= {claim["metadata"]["name"] for claim in claims}
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert set(mounts) == volumes
    words = after_start(container()["args"][0])
    assert words[1].startswith(mounts["state"])
    assert option(words, "--overlay") == f"{mounts['settings']}/overlay.json"
    assert pod["terminationGracePeriodSeconds"] > Sources({}).config().daemon.drain_s + 10
    assert pod["enableServiceLinks"] is False, "its variables would be taken for settings"


# -- Slurm -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["slurm.sh", STARTS])
def test_the_shell_understands_the_scripts(name: str) -> None:
    subprocess.run(["bash", "-n", str(DEPLOY / name)], check=True)
    assert os.access(DEPLOY / name, os.X_OK)


@pytest.mark.slow
def test_two_tasks_find_each_other_through_the_shared_folder(
    tmp_path: Path, shims: Callable[[str], dict[str, str]]
) -> None:
    """Each is asked to start its node where the overlay says that it is; ids begin anywhere."""
    shared = tmp_path / "shared"
    python = shlex.quote(sys.executable)
    program = f'[ "$1" = topology ] && exec {python} -m p2pgan "$@"; printf "%s\\n" "$@"'
    common = {
        **shims(program),
        "SHARED": str(shared),
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_ARRAY_TASK_MIN": "5",
        "SLURM_ARRAY_TASK_MAX": "6",
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_ARRAY_JOB_ID": "7",
    }
    tasks = [
        subprocess.Popen(
            ["bash", str(DEPLOY / "slurm.sh"), "--iterations", "10"],
            env={**common, "SLURM_ARRAY_TASK_ID": str(5 + task)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for task in range(2)
    ]
    told = [task.communicate(timeout=120)[0].splitlines() for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    addresses = {
        node["id"]: node["address"]
        for node in json.loads((shared / "overlay.json").read_text())["nodes"]
    }
    for node, lines in enumerate(told):
        words = lines[lines.index("start") - 1 :]
        parse(tuple(words))
        assert option(words, "--id") == str(node)
        assert urlsplit(addresses[str(node)]).port == urlsplit(option(words, "--address")).port
        assert option(words, "--advertise") == addresses[str(node)]
        assert option(words, "--iterations") == "10"
    overlay_files.read(shared / "overlay.json")


def test_an_array_with_gaps_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(DEPLOY / "slurm.sh")],
        env={
            **os.environ,
            "SHARED": str(tmp_path / "shared"),
            "SLURM_ARRAY_TASK_ID": "4",
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": "4",
            "SLURM_ARRAY_TASK_COUNT": "3",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "got 3 from 0 to 4 - at --array" in done.stderr
    assert not (tmp_path / "shared").exists()


def test_slurm_s_signal_reaches_the_node() -> None:
    """Without `B:` it goes to the steps of a job alone; the shell's place has to be the node's."""
    text = (DEPLOY / "slurm.sh").read_text()
    assert "\n#SBATCH --signal=B:TERM@" in text
    assert "\nexec " in text
    assert "\nexec p2pgan " in (DEPLOY / STARTS).read_text()
