#!/bin/sh
# start-node.sh ID RUN-FOLDER [OPTION...]: starts a node, or has it go on where it was if it was
# started in that folder before. What all the other files in this folder call.
#
# Tested (tests/tools/test_deploy.py): the command lines that come of it, before and after a start.
set -eu
id=$1
folder=$2
shift 2
if [ -e "$folder/nodes/$id/events.jsonl" ]; then
    set -- --resume "$@"
fi
exec p2pgan node start --id "$id" --out "$folder" "$@"
