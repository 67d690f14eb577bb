"""What becomes of real daemons that are disturbed: one line of a Markdown table for each row.

    python -m tools.reliability --row 1 --repeats 10
    python -m tools.reliability --row 2 --preset lan
    python -m tools.reliability --row 3 --minutes 10

The numbers are those of `docs/reliability.md`.
"""

import argparse
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from p2pgan.daemons import Preset
from tools.chaos import TooLate
from tools.reliability import deaths, ends, limits, newcomers, silences, slow, soak
from tools.reliability.runs import Asked, Row

ROWS: Final[Mapping[str, Row]] = {
    "1": Row(
        what="kill -9 of 3 of 8 nodes",
        bar="no survivor ends; 90 % of the exchanges within 30 s",
        measure=deaths.kill,
    ),
    "2": Row(
        what="detection, 8 nodes, a probe a second",
        bar="median 5 s, worst 10 s, all agree within 15 s",
        measure=deaths.detection,
    ),
    "3": Row(
        what="false deaths, 8 nodes training on 2 cores",
        bar="0",
        measure=silences.busy,
    ),
    "4": Row(
        what="SIGSTOP for 20 s, SIGCONT",
        bar="noticed within 10 s, back within 10 s, one identity",
        measure=silences.freeze,
    ),
    "5": Row(what="a trainer that hangs", bar="`degraded` within 10 s", measure=silences.hang),
    "6": Row(
        what="restart with the same identity",
        bar="accepted within 3 s, the former process refused",
        measure=deaths.again,
    ),
    "9": Row(
        what="two halves cut off from each other for 60 s",
        bar="whole within 15 s, consensus distance within 10 % of a run without a cut",
        measure=silences.partition,
    ),
    "10": Row(
        what=f"a peer at {slow.RATE / 1000:g} KB/s, 4 nodes",
        bar=f"the others' median round at most {slow.BAR:g} times, no peer lost",
        measure=slow.slow,
    ),
    "22": Row(
        what="SIGTERM, Ctrl-C, Ctrl-C twice",
        bar="status 0 within 5 s and a step, saved; 130 within 1 s",
        measure=ends.stop,
    ),
    "23": Row(
        what="a coordinator is killed and started again",
        bar="goes on within 15 s",
        measure=deaths.coordinator,
    ),
    "26": Row(
        what=f"{limits.LIMIT} descriptors, complete overlay of {limits.NODES}",
        bar="refuses new peers, keeps the old, logs once",
        measure=limits.descriptors,
    ),
    "late": Row(
        what="a newcomer to a trained overlay of 8",
        bar=f"FID within {newcomers.BAR:g} times the members' after {newcomers.ROUNDS} rounds",
        measure=newcomers.late,
    ),
    "soak": Row(
        what="8 nodes, a death a minute",
        bar="memory under 1 MiB a minute and node, descriptors stable, no traceback",
        measure=soak.soak,
    ),
}


def main() -> int:
    """Measures; 1 if something did not come in time, or meets no bar."""
    parser = argparse.ArgumentParser(prog="python -m tools.reliability")
    parser.add_argument("--row", required=True, choices=ROWS, help="of the table")
    parser.add_argument("--repeats", type=int, default=1, help="seeds (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run (default: 0)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of rows 3 and soak")
    parser.add_argument(
        "--preset", choices=typing.get_args(Preset), default="local", help="of the membership"
    )
    parser.add_argument("--keep", type=Path, help="where the run stays (default: nowhere)")
    asked = vars(parser.parse_args())
    name = asked.pop("row")
    row = ROWS[name]
    try:
        outcome = row.measure(Asked(**asked))
    except TooLate as error:
        print(f"row {name}: {error}", file=sys.stderr)
        return 1
    print(row.line(name, outcome), flush=True)
    return int(not outcome.is_met)


if __name__ == "__main__":
    sys.exit(main())
