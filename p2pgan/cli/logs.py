"""`p2pgan logs`: inspect the log of a run."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pgan.inspect.exchanges import Nets, What

if TYPE_CHECKING:
    from p2pgan.record.schema import Record

app = typer.Typer(help="Inspect the log of a run.", no_args_is_help=True)

Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="A run directory, or a single `events.jsonl`."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command()
def summary(run: Run, as_json: AsJson = False) -> None:
    """What a run came to: scores, losses and vectors of each node, and what to look into.

    Example: p2pgan logs summary runs/demo
    """
    from p2pgan.inspect.summary import summarise
    from p2pgan.inspect.tables import summary_text
    from p2pgan.record.rundir import open_log

    result = summarise(open_log(run))
    if as_json:
        _print_json(result.to_dict())
    else:
        typer.echo(summary_text(result))


@app.command()
def tail(
    run: Run,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")
    ] = False,
    node: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Only this node; may be repeated.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only this kind; may be repeated.")
    ] = None,
    last: Annotated[
        int, typer.Option(metavar="N", min=0, help="So many records at most; 0: all.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """The last records of a run, one line each.

    Example: p2pgan logs tail runs/demo --kind vector_dropped --last 50
    """
    from p2pgan.inspect.tail import Filter, last_records
    from p2pgan.inspect.tail import follow as following
    from p2pgan.record.rundir import open_log

    if follow and as_json:
        raise typer.BadParameter("`--json` prints one document, and `--follow` never ends")
    wanted = Filter(nodes=frozenset(node or ()), kinds=frozenset(kind or ()))
    log = open_log(run)
    if not follow:
        records = last_records(log, wanted, last)
        if as_json:
            _print_json([record.to_dict() for record in records])
        else:
            _print_lines(records)
        return
    try:
        looks = following(log, wanted, time.sleep)
        _print_lines(next(looks)[-last:])
        for records in looks:
            _print_lines(records)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def exchanges(
    run: Run,
    what: Annotated[
        What, typer.Option(help="What a matrix shows: vectors, bytes or mean staleness in rounds.")
    ] = "count",
    nets: Annotated[
        Nets | None, typer.Option(help="Only vectors with this network, or with both at once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Who sent what to whom: a matrix of few nodes, a row for each edge of many.

    Example: p2pgan logs exchanges runs/demo --what bytes --nets G
    """
    import msgspec

    from p2pgan.inspect.exchanges import matrix_of, tally
    from p2pgan.inspect.tables import exchanges_text
    from p2pgan.record.rundir import open_log

    counted = tally(open_log(run), nets)
    if not as_json:
        typer.echo(exchanges_text(counted, what))
        return
    matrix = matrix_of(counted, what)
    _print_json(
        {
            "what": what,
            "nets": nets,
            "nodes": matrix.nodes,
            "matrix": matrix.values_NN.tolist(),
            "edges": msgspec.to_builtins(counted.edges()),
            "per_node": msgspec.to_builtins(counted.node_traffic()),
            "dropped_reasons": dict(counted.reasons),
        }
    )


@app.command()
def traffic(run: Run, as_json: AsJson = False) -> None:
    """What was sent, by kind of message: measured beside the formulas' prediction.

    Example: p2pgan logs traffic runs/demo
    """
    from p2pgan.config import RUN_TABLE, config_from
    from p2pgan.inspect.tables import traffic_text
    from p2pgan.inspect.traffic import compared, measure
    from p2pgan.predictions import Made, communication, predict
    from p2pgan.record.rundir import open_log

    measured = measure(open_log(run))
    tables = {key: value for key, value in measured.config.items() if key != RUN_TABLE}
    config = config_from(tables, at=str(run))
    made = Made(
        iterations=measured.iterations,
        rounds=measured.rounds,
        is_networked=measured.is_networked,
    )
    rows, each = compared(measured.kinds, predict(config, made)), communication(config)
    if as_json:
        kinds = {row.kind: row.to_dict() for row in rows}
        cut_off = sorted(measured.cut_off)
        _print_json({"kinds": kinds, "communication": each.to_dict(), "cut_off": cut_off})
    else:
        typer.echo(traffic_text(rows, each.to_dict(), measured.cut_off))


def _print_lines(records: "list[Record]") -> None:
    from p2pgan.inspect.tail import line_of

    for record in records:
        typer.echo(line_of(record))


def _print_json(value: Any) -> None:
    from p2pgan.record.rundir import to_json

    typer.echo(to_json(value), nl=False)
