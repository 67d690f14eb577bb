"""Records in words: what people read of a log while it grows.

A kind that has no sentence here is shown plainly, so that nothing new goes untold.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from p2pgan.inspect.tail import fields_of, head_of, plain
from p2pgan.inspect.text import count_text, number_text, printable
from p2pgan.record.schema import Record

Weight = Literal["warning", "news", "progress", "detail"]
"""How much a record matters: always told, told, told now and then, left to `p2pgan logs`."""

PROGRESS_S: Final = 5.0
"""Seconds between two lines of progress about the same of one node."""

LINES_PER_S: Final = 20
"""Lines of a merged view; more cannot be read, and would slow the supervisor down."""

LINES_AT_ONCE: Final = 60
"""So many lines may come together, as when twenty nodes start."""

DETAILS: Final = frozenset(
    {
        *("vector_sent", "vector_received", "vector_mixed", "vector_judged", "vector_dropped"),
        *("traffic", "consensus", "quality", "run_started"),
    }
)
PROGRESS: Final = frozenset({"round_finished", "checkpoint_saved"})

REFUSALS: Final[Mapping[str, str]] = {
    "protocol": "another version of p2pgan",
    "run": "it is of another run",
    "architecture": "other settings",
    "identity_taken": "another process has that id",
    "own_address": "the address is the node's own",
    "not_neighbor": "the overlay does not join the two",
    "wrong_node": "another node answers at that address",
    "faults": "too many messages that cannot be used",
    "no_connection": "its address makes no sense, or this machine has no room for a connection",
}
"""What people read for the reasons of a handshake that fails, or cannot begin."""


def weight_of(kind: str, fields: Mapping[str, Any]) -> Weight:
    """How much a record matters to whoever watches."""
    match kind:
        case "peer_refused":
            # A peer that is leaving is told of a moment later than it might have been.
            return "detail" if fields["reason"] == "leaving" else "warning"
        case "checkpoint_failed" | "fault_injected":
            return "warning"
        case "peer_lost":
            return "warning" if fields["reason"] in {"silent", "dead"} else "news"
        case "node_degraded":
            return "warning" if fields["is_degraded"] else "news"
        case "run_started" if fields.get("is_anew"):
            return "warning"
    if kind in DETAILS:
        return "detail"
    return "progress" if kind in PROGRESS else "news"


def words(kind: str, fields: Mapping[str, Any]) -> str:
    """A record as a sentence.

    Args:
        kind: of the record.
        fields: its body; what does not apply may be left out.
    """
    if "peer" in fields:
        told = _of_peer(kind, printable(fields["peer"]), fields)
    elif kind.startswith("node_"):
        told = _of_node(kind, fields)
    else:
        told = _of_work(kind, fields)
    return told or plain(kind, fields)


def _of_peer(kind: str, peer: str, fields: Mapping[str, Any]) -> str:
    match kind:
        case "peer_joined":
            return f"peer `{peer}` joined"
        case "peer_suspected":
            by = f", says `{printable(fields['by'])}`" if fields.get("by") else ""
            return f"peer `{peer}` suspected: it does not answer{by}"
        case "peer_recovered":
            return f"peer `{peer}` is there after all"
        case "peer_degraded" if fields["is_degraded"]:
            return f"peer `{peer}` is degraded: it answers, and its work does not get on"
        case "peer_degraded":
            return f"peer `{peer}` gets on again"
        case "peer_lost":
            return f"peer `{peer}` lost: {printable(fields['reason'])}"
        case "peer_refused" if fields["by"] == "us":
            return f"peer `{peer}` refused: {_why(fields['reason'])}"
        case "peer_refused":
            return f"peer `{peer}` refuses us: {_why(fields['reason'])}"
        case _:
            return ""


def _of_node(kind: str, fields: Mapping[str, Any]) -> str:
    match kind:
        case "node_started":
            pid = f", process {fields['pid']}" if "pid" in fields else ""
            return f"is up{pid}"
        case "node_stopped":
            made = count_text(fields["iterations"], "iteration")
            return f"stopped after {made}: {printable(fields['reason'])}"
        case "node_degraded" if fields["is_degraded"]:
            return "is degraded: its work shows no sign of life"
        case "node_degraded":
            return "gets on again"
        case _:
            return ""


def _of_work(kind: str, fields: Mapping[str, Any]) -> str:
    match kind:
        case "run_started" if fields.get("is_anew"):
            return "no checkpoint to go on from: the run begins anew"
        case "round_finished":
            return f"round {fields['round']}, {fields['iterations']} iterations"
        case "scores":
            return (
                f"round {fields['round']}, {fields['iterations']} iterations: "
                f"FID {_figure(fields.get('fid'), 1)}, MS {_figure(fields.get('ms'), 2)}"
            )
        case "agreed":
            return f"adopted the pair of `{printable(fields['origin'])}`"
        case "overlay_changed":
            gap = number_text(fields.get("spectral_gap"))
            edges = count_text(fields["edges"], "edge")
            nodes = count_text(fields["nodes"], "node")
            return f"the overlay has {nodes} and {edges} now, spectral gap {gap}"
        case "checkpoint_saved":
            return f"saved {printable(fields['path'])}"
        case "checkpoint_failed":
            return f"not saved: {printable(fields['reason'])}"
        case "checkpoint_restored":
            made = count_text(fields["iterations"], "iteration")
            return f"goes on from {printable(fields['path'])}, after {made}"
        case _:
            return ""


def _why(reason: str) -> str:
    """A reason in words, and as it stands in the log."""
    return f"{REFUSALS[reason]} (`{reason}`)" if reason in REFUSALS else printable(reason)


def _figure(value: float | None, digits: int) -> str:
    return f"{float('nan') if value is None else value:.{digits}f}"


class Teller:
    """Chooses what of growing logs is told: all news, and progress now and then.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun_s = clock, clock()
        self._told_s: dict[tuple[str, str], float] = {}

    def tell(self, node: str, kind: str, fields: Mapping[str, Any]) -> str | None:
        """A record's line, warnings marked; `None`: it is left out."""
        match weight_of(kind, fields):
            case "warning":
                return f"warning: {words(kind, fields)}"
            case "news":
                return words(kind, fields)
            case "progress" if self._is_due(node, kind):
                return words(kind, fields)
            case _:
                return None

    def _is_due(self, node: str, kind: str) -> bool:
        now = self._clock()
        if now - self._told_s.get((node, kind), self._begun_s) < PROGRESS_S:
            return False
        self._told_s[node, kind] = now
        return True


class MergedView:
    """The logs of all nodes of a run as one stream of lines, no more of them than can be read.

    Args:
        say: takes the lines.
        warnings_only: whether all else is left out, as beside a progress bar.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        warnings_only: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._warnings_only, self._clock = say, warnings_only, clock
        self._teller = Teller(clock)
        self._free, self._filled_s = float(LINES_AT_ONCE), clock()
        self._left_out = 0

    def show(self, records: Sequence[Record]) -> None:
        """Tells of what is new.

        Args:
            records: in the order in which they are to be told.
        """
        self._fill()
        for record in records:
            fields = fields_of(record)
            if self._warnings_only and weight_of(record.kind, fields) != "warning":
                continue
            told = self._teller.tell(record.node, record.kind, fields)
            if told is None:
                continue
            if self._free < 1:
                self._left_out += 1
                continue
            self._free -= 1
            self._say(f"{head_of(record)} {told}")

    def _fill(self) -> None:
        """Makes room for lines as time passes; says first how many had none."""
        now = self._clock()
        self._free = min(LINES_AT_ONCE, self._free + (now - self._filled_s) * LINES_PER_S)
        self._filled_s = now
        if self._left_out and self._free >= 1:
            self._free -= 1
            self._say(f"({count_text(self._left_out, 'line')} more: `p2pgan logs tail` shows all)")
            self._left_out = 0
