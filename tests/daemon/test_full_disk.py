"""A daemon on a real disk that fills up, and is emptied again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2pgan.record.reader import read
from p2pgan.record.schema import CheckpointFailed, CheckpointSaved, NodeStopped

SIZE_MB = 4
"""Two checkpoints and a part of the next fit, of the smallest model."""

LIFE = """
import json, os, shutil, signal, sys
from pathlib import Path
import torch
from p2pgan.daemon import process
from p2pgan.daemons import DaemonConfig
from p2pgan.node.kept import Resumption
from tests.daemon.test_resume import experiment_of
from tests.daemon.test_process import plan_of

torch.set_num_threads(1)
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
daemon = DaemonConfig(wait_s=0.0, checkpoint_every=1)
experiment = experiment_of(folder, iterations=10**8, exchange_every=10, daemon=daemon)
plan = plan_of(experiment, folder)
filler, told = folder / "filler", {"scores": 0, "failures": 0, "freed": 0}

def say(line):
    if "not saved" in line:
        told["failures"] += 1
        assert Resumption.newest(folder / "nodes/0/checkpoint.safetensors", experiment.model)
        if told["failures"] == 3:
            filler.unlink()
            told["freed"] = told["scores"]
    if "FID" not in line:
        return
    told["scores"] += 1
    if told["scores"] == 3:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError:
                pass
    if told["freed"] and told["scores"] == told["freed"] + 3:
        os.kill(os.getpid(), signal.SIGTERM)

status = process.run_node(plan, say, experiment)
shutil.copy(folder / "nodes/0/events.jsonl", out)
print(json.dumps({"status": status, **told}))
"""


def test_training_goes_on_and_saving_as_soon_as_there_is_room(tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "events.jsonl"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(disk)]
    try:
        tried = subprocess.run(["unshare", "-Urm", *mount], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no `unshare` here")
    if tried.returncode:
        pytest.skip(f"no file system of one's own: {tried.stderr.decode().strip()}")
    script = f'{" ".join(mount)} && exec "$0" -c "$1" "$2" "$3"'
    life = [sys.executable, LIFE, str(disk), str(out)]
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, *life],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == 0
    assert told["failures"] >= 3
    bodies = [record.body for record in read(out)]
    reasons = [body.reason for body in bodies if isinstance(body, CheckpointFailed)]
    failed = [n for n, body in enumerate(bodies) if isinstance(body, CheckpointFailed)]
    saved = [n for n, body in enumerate(bodies) if isinstance(body, CheckpointSaved)]
    assert all("No space left" in reason for reason in reasons)
    assert saved[0] < failed[0] < failed[-1] < saved[-1]
    assert isinstance(bodies[-1], NodeStopped)
