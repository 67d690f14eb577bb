#!/bin/bash
#SBATCH --job-name=p2pgan
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#
# A run as an array job: the first task is node 0, and so on; array ids follow each other (--array=0-7,
# --array=5-12), since an overlay has no gaps. Every task writes where it is to the shared folder; node 0
# makes the overlay of it, and the others wait for that. A task that is requeued goes on where it was,
# and tells the others where it is now, if Slurm has put it on another machine. The signal before
# the end goes to the batch shell (B:), whose place the node takes.
#
# Submit it from the root of the repository; Slurm runs a copy of this file from another place.
#
#   $ SHARED=/scratch/$USER/first sbatch tools/deploy/slurm.sh --algorithm gossip --iterations 100000
#
# SHARED     a folder that all machines see (default: p2pgan-JOB in the current one)
# OVERLAY    an overlay family (default: complete)
# BASE_PORT  node I listens at BASE_PORT + I (default: 15550)
#
# Tested (tests/tools/test_deploy.py): its syntax, and two tasks of it run as Slurm would start them,
# on one machine. UNTESTED: Slurm itself, its signal, requeuing, and shared storage that shows files late.
set -euo pipefail
node=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))
count=$((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN + 1))
if [ "${SLURM_ARRAY_TASK_COUNT:-$count}" != "$count" ]; then
    echo "expected array ids that follow each other, got $SLURM_ARRAY_TASK_COUNT from" \
        "$SLURM_ARRAY_TASK_MIN to $SLURM_ARRAY_TASK_MAX - at --array" >&2
    exit 1
fi
shared=${SHARED:-$PWD/p2pgan-$SLURM_ARRAY_JOB_ID}
port=$((${BASE_PORT:-15550} + node))
here=tcp://$(hostname):$port

mkdir -p "$shared/addresses"
echo "$here" >"$shared/addresses/$node.part"
mv "$shared/addresses/$node.part" "$shared/addresses/$node"

wait_for() {
    for _ in $(seq 600); do
        if "$@"; then return; fi
        sleep 0.5
    done
    echo "expected the other tasks within 5 minutes, got none - at $shared" >&2
    exit 1
}
all_are_there() { [ "$(find "$shared/addresses" -type f -name '[0-9]*' ! -name '*.part' | wc -l)" -ge "$count" ]; }

if [ "$node" = 0 ] && [ ! -e "$shared/overlay.json" ]; then
    wait_for all_are_there
    p2pgan topology new "${OVERLAY:-complete}" --nodes "$count" --force --out "$shared/family.json"
    python3 - "$shared" <<'PYTHON'
import json, pathlib, sys
shared = pathlib.Path(sys.argv[1])
overlay = json.loads((shared / "family.json").read_text())
for node in overlay["nodes"]:
    node["address"] = (shared / "addresses" / node["id"]).read_text().strip()
(shared / "overlay.part").write_text(json.dumps(overlay))
(shared / "overlay.part").replace(shared / "overlay.json")
PYTHON
fi
wait_for test -e "$shared/overlay.json"

exec "$SLURM_SUBMIT_DIR/tools/deploy/start-node.sh" "$node" "$shared/run" --run "${SLURM_JOB_NAME:-p2pgan}" \
    --overlay "$shared/overlay.json" --address "tcp://0.0.0.0:$port" --advertise "$here" "$@"
