"""Nodes that are told to stop."""

import signal
import time
from typing import Final

from p2pgan.record.schema import NodeStopped
from tools.reliability.runs import FEW, Asked, Outcome

ORDER_S: Final = 5.5
"""In good order: 5 s and a step."""

ABORT_S: Final = 1.0

PAUSE_S: Final = 0.02
"""Between two Ctrl-C: the first one alone may take no longer than a tenth of a second."""

INTERRUPTED: Final = 130


def stop(asked: Asked) -> Outcome:
    """SIGTERM, Ctrl-C and a second Ctrl-C amid training: how long, and with what status?"""
    ways = {
        "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
        "Ctrl-C": [signal.SIGINT],
        "SIGTERM": [signal.SIGTERM],
    }
    took_s: dict[str, list[float]] = {name: [] for name in ways}
    is_met = True
    for repeat in range(asked.repeats):
        with asked.run(asked.config(FEW, repeat)) as run:
            for node, (name, signals) in enumerate(ways.items()):
                for number in signals:
                    begun_s = run.signal(str(node), number)
                    time.sleep(PAUSE_S)
                status = run.status(str(node))
                took_s[name].append(time.time() - begun_s)
                run.look()
                bodies = [record.body for record in run.logged("node_stopped", [str(node)])]
                reasons = [body.reason for body in bodies if isinstance(body, NodeStopped)]
                saved = bool(run.logged("checkpoint_saved", [str(node)]))
                is_abort = len(signals) > 1
                is_met &= status == (INTERRUPTED if is_abort else 0) and len(reasons) == 1
                is_met &= (saved or is_abort) and took_s[name][-1] <= (
                    ABORT_S if is_abort else ORDER_S
                )
    told = "; ".join(f"{name} {max(times):.1f} s" for name, times in took_s.items())
    return Outcome(measured=f"{asked.repeats} times, the longest: {told}", is_met=is_met)
