"""Summaries and exchanges as plain text, the same on a terminal and in a file."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from p2pgan.inspect.exchanges import Edge, Tally, What, matrix_of
from p2pgan.inspect.summary import QUALITY_FIGURES, NodeSummary, PeerEvent, RunSummary
from p2pgan.inspect.text import bytes_text, count_text, natural, number_text, printable
from p2pgan.inspect.traffic import Direction, Prediction, Row
from p2pgan.types import COORDINATOR

MATRIX_NODES_MAX = 12
"""With more nodes, exchanges are listed by edge: a wider matrix does not fit a terminal."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first to the left and the others to the right."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def summary_text(summary: RunSummary) -> str:
    """A run on a page: what it was, what it came to, a row for each node, what to look into."""
    rows = [_node_row(node) for node in summary.nodes]
    header = "node rounds iterations FID MS loss_D loss_G sent received dropped bytes_sent stopped"
    parts = [
        "\n".join(_facts(summary)),
        table(header.split(), rows) if rows else "",
        "\n".join(f"warning: {printable(warning)}" for warning in summary.warnings),
    ]
    return "\n\n".join(part for part in parts if part)


def exchanges_text(counted: Tally, what: What) -> str:
    """Who sent what to whom: a matrix of few nodes, a row for each edge of many."""
    if not counted.edges():
        return "no vectors on record"
    matrix = len(counted.nodes()) <= MATRIX_NODES_MAX
    body = _matrix_text(counted, what) if matrix else _edges_text(counted.edges())
    reasons = "\n".join(
        f"dropped {times}: {printable(reason)}" for reason, times in counted.reasons.most_common()
    )
    return f"{body}\n\n{reasons}" if reasons else body


def traffic_text(
    rows: Sequence[Row], communication: Mapping[str, Any], cut_off: Collection[str] = ()
) -> str:
    """Kinds of messages, measured and predicted, and what one communication takes.

    Args:
        rows: a row for each kind.
        communication: `p2pgan.predictions.Communication` as plain values.
        cut_off: nodes that were killed and started again.
    """
    if not rows:
        return "no messages on record"
    header = "kind|way|messages|predicted|payload each|predicted|payload|ratio|overhead"
    parts = [table(header.split("|"), [_traffic_row(row) for row in rows])]
    if any(row.predicted is not None and row.predicted.is_most for row in rows):
        parts.append("≤: at most, since a draw may find nobody to send to")
    if cut_off:
        names = ", ".join(f"`{printable(node)}`" for node in sorted(cut_off, key=natural))
        parts.append(f"killed and started again, uncounted since the round before: {names}")
    parts += list(_overhead_facts(rows))
    facts = list(_communication_facts(communication))
    return "\n\n".join([*parts, *(["\n".join(facts)] if facts else [])])


WAYS: dict[Direction, str] = {
    "coordinator to worker": "C→W",
    "worker to coordinator": "W→C",
    "worker to worker": "W→W",
    "node to node": "N→N",
    "any": "-",
}
"""Directions as the thesis abbreviates them."""


def _traffic_row(row: Row) -> list[str]:
    predicted = row.predicted or Prediction(messages=0, payload_bytes=0)
    sign = "≤ " if predicted.is_most else ""
    return [
        row.kind,
        WAYS[row.direction],
        str(row.messages),
        "-" if row.predicted is None else f"{sign}{predicted.messages}",
        _each_text(row.payload_bytes, row.messages),
        _each_text(predicted.payload_bytes, predicted.messages),
        bytes_text(row.payload_bytes) if row.payload_bytes else "-",
        "-" if row.ratio is None else f"{row.ratio:.4f}",
        "-" if row.overhead is None else f"{100 * row.overhead:.2f} %",
    ]


def _overhead_facts(rows: Sequence[Row]) -> Iterator[str]:
    """What a network carried beside the payload; nothing where there was none."""
    if any(row.bytes is None for row in rows):
        return
    payload_bytes = sum(row.payload_bytes for row in rows)
    extra = sum(row.bytes or 0 for row in rows) - payload_bytes
    share = f", {100 * extra / payload_bytes:.2f} % of the payload" if payload_bytes else ""
    yield f"headers and the protocol's own messages: {bytes_text(extra)}{share}"


def _each_text(payload_bytes: int, messages: int) -> str:
    return bytes_text(payload_bytes / messages) if payload_bytes and messages else "-"


COMMUNICATION_TITLES = {
    "coordinator_sends": "coordinator to workers, at the coordinator",
    "worker_receives": "coordinator to worker, at a worker that takes part",
    "worker_sends": "worker to coordinator, at a worker that takes part",
    "coordinator_receives": "workers to coordinator, at the coordinator",
    "between_workers": "worker to worker, at a worker that takes part",
}
"""Lines of thesis table 5.4, by name of the figure."""


def _communication_facts(communication: Mapping[str, Any]) -> Iterator[str]:
    """Thesis table 5.4 for the configured run; nothing where nothing is exchanged."""
    shown = {name: communication[name] for name in COMMUNICATION_TITLES}
    if all(size is None for size in shown.values()):
        return
    yield "one communication, as configured (thesis, table 5.4):"
    for name, title in COMMUNICATION_TITLES.items():
        if shown[name] is not None:
            times = "among_workers" if name == "between_workers" else "with_coordinator"
            yield f"  {title}: {bytes_text(shown[name])}, {communication[times]} times"


def _facts(summary: RunSummary) -> Iterator[str]:
    settings = ", ".join(f"{name} {value}" for name, value in summary.settings.items())
    yield printable(
        (f"run {summary.run}: " if summary.run else "") + (settings or "nothing on record")
    )
    nodes = [node for node in summary.nodes if node.node != COORDINATOR]
    trained = sum(node.iterations > 0 for node in nodes)
    part = "" if trained in (0, len(nodes)) else f" ({trained} trained)"
    part += " and a coordinator" if len(nodes) < len(summary.nodes) else ""
    yield (
        f"{count_text(len(nodes), 'node')}{part}, {count_text(summary.rounds, 'round')}, "
        f"{count_text(summary.iterations, 'iteration')}, {summary.wall_s:.1f} s, "
        f"{count_text(summary.records, 'record')}"
    )
    yield (
        f"vectors: {summary.sent} sent ({bytes_text(summary.bytes_sent)}), "
        f"{summary.received} received, {summary.mixed} mixed, "
        f"{f'{summary.judged} judged, ' if summary.judged else ''}{summary.dropped} dropped, "
        f"{len(summary.unaccounted)} unaccounted for"
    )
    for kind, tally in summary.unrecorded.items():
        yield f"{kind}: {tally.messages} sent ({bytes_text(tally.payload_bytes)})"
    for reason, times in summary.dropped_reasons.items():
        yield f"  dropped {times}: {printable(reason)}"
    for name, scores in summary.scores.items():
        yield (
            f"{name.upper()} on {scores['samples']} samples: {number_text(scores['mean'])} "
            f"± {number_text(scores['std'])} over nodes, "
            f"{number_text(scores['min'])} to {number_text(scores['max'])}"
        )
    if summary.quality is not None:
        yield from _quality_facts(summary.quality)
    if summary.curves.consensus:
        last = summary.curves.consensus[-1]
        yield f"consensus distance: G {number_text(last.g)}, D {number_text(last.d)}"
    if summary.peers_lost:
        yield f"peers lost: {_by_reason(summary.peers_lost)}"
    if summary.faults:
        yield f"faults injected: {summary.faults}"


def _quality_facts(quality: Mapping[str, Any]) -> Iterator[str]:
    yield f"{quality_head(quality)}:"
    for name in QUALITY_FIGURES:
        row = quality[name]
        yield (
            f"  {name} {number_text(row['mean'])} ± {number_text(row['std'])} over nodes, "
            f"{number_text(row['min'])} to {number_text(row['max'])}"
        )
    shares = " ".join(number_text(share) for share in quality["histogram"])
    yield f"  shares of the classes: {shares}"


def quality_head(quality: Mapping[str, Any]) -> str:
    """On how many images the figures of `quality_statistics` rest, and of how many nodes."""
    return (
        f"quality of {count_text(len(quality['nodes']), 'node')} on {quality['samples']} samples "
        f"(precision and recall on {quality['compared']}, nearest training images of "
        f"{quality['nearest_samples']})"
    )


def _by_reason(events: Sequence[PeerEvent]) -> str:
    reasons = Counter(event.reason for event in events)
    return printable(", ".join(f"{times} {reason}" for reason, times in reasons.most_common()))


def _node_row(node: NodeSummary) -> list[str]:
    traffic = node.traffic
    return [
        node.node,
        str(node.rounds),
        str(node.iterations),
        number_text(node.fid),
        number_text(node.ms),
        number_text(node.loss_d),
        number_text(node.loss_g),
        str(traffic.sent),
        str(traffic.received),
        str(traffic.dropped_out + traffic.dropped_in),
        bytes_text(traffic.bytes_sent),
        node.stopped or "-",
    ]


def _matrix_text(counted: Tally, what: What) -> str:
    matrix = matrix_of(counted, what)
    rows = [
        [node, *(_cell(value, what) for value in row)]
        for node, row in zip(matrix.nodes, matrix.values_NN.tolist(), strict=True)
    ]
    return table(["from \\ to", *(printable(node) for node in matrix.nodes)], rows)


def _cell(value: float, what: What) -> str:
    if value == 0 and what != "staleness":
        return "."
    return bytes_text(value) if what == "bytes" else number_text(value)


def _edges_text(edges: Sequence[Edge]) -> str:
    header = "from to sent received mixed judged dropped bytes_received staleness_rounds"
    rows = [
        [
            edge.sender,
            edge.receiver,
            str(edge.sent),
            str(edge.received),
            str(edge.mixed),
            str(edge.judged),
            str(edge.dropped),
            bytes_text(edge.bytes_received),
            number_text(edge.staleness_rounds),
        ]
        for edge in edges
    ]
    return table(header.split(), rows)
