"""`p2pgan node`: one daemon in the foreground, and questions to running ones."""

import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from p2pgan.cli.interrupts import ended_by_interrupt
from p2pgan.cli.options import Sources, with_sources
from p2pgan.errors import ConfigError, ProtocolError, TransportError, unknown_name

if TYPE_CHECKING:
    from p2pgan.config import RunConfig
    from p2pgan.daemon.control import Answer, Request
    from p2pgan.daemon.process import NodePlan
    from p2pgan.experiment import Experiment

app = typer.Typer(no_args_is_help=True, help="Run one daemon, or talk to running ones.")


class Role(StrEnum):
    """What a node is in a run."""

    auto = "auto"
    coordinator = "coordinator"
    worker = "worker"


RunOption = Annotated[
    Path | None, typer.Option("--run", help="Run directory: ask every node in its logs.")
]
ControlOption = Annotated[
    str | None, typer.Option("--control", help="Control address of one node, as it printed it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
HttpOption = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Answer /healthz, /readyz and /metrics there.  [daemon.http: nowhere]",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Where to listen, such as tcp://0.0.0.0:5550.  [the overlay's]"),
]


@app.command()
@with_sources()
def start(
    sources: Sources,
    *,
    id: Annotated[
        str | None,
        typer.Option("--id", help="Which node of the overlay this is.  [coordinator]"),
    ] = None,
    role: Annotated[
        Role,
        typer.Option(help="coordinator, worker (any other node), or auto: what the id says."),
    ] = Role.auto,
    http: HttpOption = None,
    address: AddressOption = None,
    advertise: Annotated[
        str | None,
        typer.Option(help="Where others reach it, if not there, such as tcp://10.0.0.3:5550."),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(help="Come to a run that is under way: the address of any of its members."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of the run.  [made of settings and overlay]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; nodes of one run can share it.  [runs/RUN]")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on after an earlier start: in its log, and from its checkpoint.",
        ),
    ] = False,
) -> None:
    """Run one daemon in the foreground until it is done; Ctrl-C stops it in good order, a second
    one at once.

    With --join, settings come from the run, and weights from a neighbor.

    Example: p2pgan node start --id A --overlay two.json --iterations 1000

    Example: p2pgan node start --join tcp://10.0.0.3:5550 --address tcp://10.0.0.9:5550
    """
    wish = Wish(id, role, address, advertise, run, out, resume=resume, http=http)
    with ended_by_interrupt():  # until the node's loop takes over
        _check_places(address, advertise, join)
        plan, experiment = _plan(sources, wish) if join is None else _joining(sources, join, wish)
        from p2pgan.daemon import process

        status = process.run_node(plan, lambda line: typer.echo(line, err=True), experiment)
    process.leave_process(status)


class Wish(NamedTuple):
    """What the command line says of a node that starts."""

    id: str | None
    role: Role
    address: str | None
    advertised: str | None
    run: str | None
    out: Path | None
    resume: bool
    http: str | None

    def local(self, config: "RunConfig") -> "RunConfig":
        """The configuration with what this node has for itself."""
        from msgspec.structs import replace

        if self.http is None:
            return config
        return replace(config, daemon=replace(config.daemon, http=self.http))


def _check_places(address: str | None, advertised: str | None, member: str | None) -> None:
    """Nothing has been made or bound yet if one of the addresses is none.

    Raises:
        OverlayError: naming its option.
    """
    from p2pgan.overlay.addresses import check_address, check_place

    if address is not None:
        check_place(address, "--address")
    for other, option in ((advertised, "--advertise"), (member, "--join")):
        if other is not None:
            check_address(other, option)


def _plan(sources: Sources, wish: Wish) -> "tuple[NodePlan, Experiment]":
    """A node of the overlay."""
    from p2pgan.cli.paths import data_dir
    from p2pgan.daemon import process
    from p2pgan.experiment import prepare
    from p2pgan.node import roles

    experiment = prepare(wish.local(sources.config()), data_dir())
    roles.check_algorithm(experiment)
    overlay = roles.whole_overlay(experiment)
    if wish.role is Role.coordinator and not experiment.algorithm.has_coordinator:
        raise ConfigError(
            expected="an algorithm with a coordinator, `fl-gan` or `md-gan`",
            got=f"`{experiment.algorithm.name}`",
            at="--algorithm, --role",
        )
    if wish.resume and wish.id not in overlay.nodes:
        _check_came_early(wish)
    node = _node_id(wish.id, wish.role, overlay.nodes)
    process.check_addresses(experiment, overlay, node, wish.address)
    name = wish.run or process.run_name(experiment)
    path = wish.out or Path("runs") / name
    directory = process.share_directory(experiment, path, name, node, resume=wish.resume)
    plan = process.NodePlan(
        config=experiment.config,
        node=node,
        run=name,
        directory=directory.path,
        data_dir=data_dir(),
        overlay_file=directory.overlay_json,
        address=wish.address,
        advertised=wish.advertised,
        environment=dict(os.environ),
        resume=wish.resume,
    )
    return plan, experiment


def _check_came_early(wish: Wish) -> None:
    """Who came to a run that was under way goes on in the same way.

    Raises:
        ConfigError: if the node has come so.
    """
    from p2pgan.daemon.joining import overlay_file
    from p2pgan.record.rundir import RunDirectory

    if wish.id is None or wish.out is None:
        return
    if overlay_file(RunDirectory(wish.out), wish.id).is_file():
        raise ConfigError(
            expected="a node of the run's first overlay",
            got=f"`{wish.id}`, which came later",
            at="--id",
            hint="add `--join ADDRESS` of any member",
        )


def _joining(sources: Sources, member: str, wish: Wish) -> "tuple[NodePlan, Experiment]":
    """A node that comes to a run that is under way."""
    from p2pgan.cli.paths import data_dir
    from p2pgan.daemon import joining, process
    from p2pgan.experiment import prepare

    if wish.role is not Role.auto or wish.run is not None:
        raise ConfigError(
            expected="a member's address alone",
            got="`--run` or `--role` beside it",
            at="--join",
            hint="the member says what run it is",
        )
    if wish.address is None:
        raise ConfigError(
            expected="where to listen",
            got="nothing",
            at="--address",
            hint="such as `--address tcp://10.0.0.9:5550`: members connect to it",
        )
    _warn_of_own_settings(sources.given())
    charter = joining.ask(member)
    new = joining.newcomer(charter, wish.id)
    directory = joining.own_folder(wish.out, charter)
    config = sources.config((joining.settings_of(charter), f"the run at {member}"))
    experiment = prepare(joining.settle(wish.local(config), directory, new), data_dir())
    process.join_directory(experiment, directory, charter.run, new.node, resume=wish.resume)
    plan = process.NodePlan(
        config=experiment.config,
        node=new.node,
        run=charter.run,
        directory=directory.path,
        data_dir=data_dir(),
        overlay_file=Path(experiment.config.overlay),
        address=wish.address,
        advertised=wish.advertised,
        newcomer=new,
        environment=dict(os.environ),
        resume=wish.resume,
    )
    return plan, experiment


def _warn_of_own_settings(given: Mapping[str, Any]) -> None:
    """A newcomer may have settings of the run otherwise, and hardly ever should."""
    from p2pgan.config import LOCAL_KEYS, flat

    local = {*LOCAL_KEYS, "dataset"}
    own = sorted(flat({key: value for key, value in given.items() if key not in local}))
    if own:
        names = ", ".join(f"`{key}`" for key in own)
        typer.echo(f"warning: --join takes settings from the run, but not {names}: yours", err=True)


def _node_id(id: str | None, role: Role, nodes: Sequence[str]) -> str:
    """The node that is meant.

    Raises:
        ConfigError: if there is no such node, or it has another role.
    """
    from p2pgan.types import COORDINATOR

    named = id or (COORDINATOR if role is Role.coordinator else "")
    if not named:
        raise ConfigError(
            expected="the id of a node",
            got="none",
            at="--id",
            hint="`--role coordinator` needs none",
        )
    if named not in nodes:
        raise unknown_name(ConfigError, "a node of the overlay", named, nodes, "--id")
    is_hub = named == COORDINATOR
    if role is not Role.auto and is_hub != (role is Role.coordinator):
        raise ConfigError(
            expected=f"a node that is a {role.value}", got=f"`{named}`", at="--id, --role"
        )
    return named


@app.command()
def status(run: RunOption = None, control: ControlOption = None, json: JsonOption = False) -> None:
    """How nodes are doing.

    Example: p2pgan node status --run runs/gossip-digits-n5-s0
    """
    from p2pgan.daemon.control import StatusRequest

    answers = _ask_all(_controls(run, control), StatusRequest())
    vectors = ("sent", "received", "dropped")
    columns = ("node", "phase", "round", "iterations", "ready", "alive", *vectors)
    rows = [_at_a_glance(answer) for answer in answers]
    for answer in answers:
        if answer.get("save_problem"):
            typer.echo(f"node `{answer['node']}` cannot save: {answer['save_problem']}", err=True)
        if answer.get("records_lost"):
            typer.echo(
                f"node `{answer['node']}` has lost {answer['records_lost']} records", err=True
            )
    _print(answers, columns, as_json=json, rows=rows)


def _at_a_glance(answer: dict[str, Any]) -> dict[str, Any]:
    """A status with shares: of neighbors that are ready, of members that are alive."""
    if "error" in answer:
        return answer
    known = [answer[state] for state in ("alive", "suspects", "dead")]
    alive = f"{known[0]}/{sum(known)}" if None not in known else None
    phase = "degraded" if answer["is_degraded"] else answer["phase"]
    ready = f"{answer['peers_ready']}/{answer['peers']}"
    return {**answer, "phase": phase, "ready": ready, "alive": alive}


@app.command()
def peers(run: RunOption = None, control: ControlOption = None, json: JsonOption = False) -> None:
    """The links of nodes to their neighbors.

    Example: p2pgan node peers --control ipc:///run/user/1000/p2pgan/4711-0a1b2c3d.sock
    """
    from p2pgan.daemon.control import PeersRequest

    answers = _ask_all(_controls(run, control), PeersRequest())
    vectors = ("sent", "received", "mixed", "judged", "dropped")
    columns = ("node", "peer", "state", *vectors, "faults")
    rows: list[dict[str, Any]] = []
    for answer in answers:
        found = answer.get("peers", [])
        rows += [{**answer, **row} for row in found] if found else [answer]
    _print(answers, columns, as_json=json, rows=rows)


@app.command()
def scores(
    run: RunOption = None,
    control: ControlOption = None,
    now: Annotated[
        bool, typer.Option("--now", help="Have them score again; ask later for what came of it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What the generators of nodes were worth when they were scored last.

    Example: p2pgan node scores --run runs/gossip-digits-n5-s0
    """
    from p2pgan.daemon.control import ScoresRequest

    answers = _ask_all(_controls(run, control), ScoresRequest(now=now))
    if now and any("error" not in answer for answer in answers):
        typer.echo("scoring was asked for; these are the latest until then: ask again", err=True)
    rows = [
        {**answer, **{key: _two_digits(answer.get(key)) for key in ("fid", "ms")}}
        for answer in answers
    ]
    columns = ("node", "round", "iterations", "fid", "ms", "samples")
    _print(answers, columns, as_json=json, rows=rows)


def _two_digits(score: float | None) -> str | None:
    return None if score is None else f"{score:.2f}"


@app.command()
def pause(run: RunOption = None, control: ControlOption = None, json: JsonOption = False) -> None:
    """Have nodes train no more for now; they go on answering, and take vectors.

    Example: p2pgan node pause --run runs/gossip-digits-n5-s0
    """
    from p2pgan.daemon.control import PauseRequest

    _wish(_controls(run, control), PauseRequest(), "pauses", as_json=json)


@app.command()
def resume(run: RunOption = None, control: ControlOption = None, json: JsonOption = False) -> None:
    """Have nodes that pause go on where they were.

    Example: p2pgan node resume --run runs/gossip-digits-n5-s0
    """
    from p2pgan.daemon.control import ResumeRequest

    _wish(_controls(run, control), ResumeRequest(), "goes on", as_json=json)


@app.command()
def checkpoint(
    run: RunOption = None, control: ControlOption = None, json: JsonOption = False
) -> None:
    """Have nodes save soon, and go on.

    Example: p2pgan node checkpoint --run runs/gossip-digits-n5-s0
    """
    from p2pgan.daemon.control import CheckpointRequest

    _wish(_controls(run, control), CheckpointRequest(), "saves soon", as_json=json)


@app.command()
def stop(run: RunOption = None, control: ControlOption = None, json: JsonOption = False) -> None:
    """Ask nodes to stop in good order: they save and leave.

    Example: p2pgan node stop --run runs/gossip-digits-n5-s0
    """
    from p2pgan.daemon.control import StopRequest

    _wish(_controls(run, control), StopRequest(), "stops", as_json=json)


def _wish(controls: dict[str, str], wish: "Request", granted: str, *, as_json: bool) -> None:
    """Tells nodes what is wanted of them; shows what they make of it."""
    answers = _ask_all(controls, wish)
    for answer in answers:
        answer.setdefault("answer", granted)
    _print(answers, ("node", "answer"), as_json=as_json)


def _controls(run: Path | None, control: str | None) -> dict[str, str]:
    """Control address of each node that is asked, by id (empty where the id is not known yet)."""
    if (run is None) == (control is None):
        raise ConfigError(
            expected="one of `--run DIR` and `--control ADDRESS`",
            got="neither" if run is None else "both",
            at="p2pgan node",
        )
    return {"": control} if control is not None else _logged_controls(run)


def _logged_controls(run: Path | None) -> dict[str, str]:
    """The latest control address of each node, out of its log; nodes that ended in good order are
    not asked."""
    from p2pgan.record.reader import read
    from p2pgan.record.rundir import RunDirectory
    from p2pgan.record.schema import NodeStarted, NodeStopped

    assert run is not None
    found: dict[str, str] = {}
    for path in RunDirectory.open(run).event_files():
        for record in read(path):
            if isinstance(record.body, NodeStarted) and record.body.control is not None:
                found[record.node] = record.body.control
            elif isinstance(record.body, NodeStopped):
                found.pop(record.node, None)
    if not found:
        raise TransportError(
            expected="a run with daemons that have not ended", got="none", at=str(run)
        )
    return found


def _ask_all(controls: dict[str, str], question: "Request") -> list[dict[str, Any]]:
    """The answers, all asked side by side; a node that does not answer, or cannot do what is wanted
    of it, has an `error`."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=16) as pool:
        futures = {
            node: pool.submit(_ask, node, address, question) for node, address in controls.items()
        }
        return [future.result() for future in futures.values()]


def _ask(node: str, address: str, question: "Request") -> dict[str, Any]:
    import msgspec

    from p2pgan.daemon.control import Declined, request

    try:
        answer: Answer = request(address, question)
    except (TransportError, ProtocolError) as error:
        return {"node": node, "control": address, "answer": "no answer", "error": str(error)}
    if isinstance(answer, Declined):
        told = {"node": answer.node, "control": address, "answer": "declined"}
        return {**told, "error": f"node `{answer.node}` cannot: {answer.reason}"}
    told = msgspec.to_builtins(answer)
    told.pop("type")
    return {"control": address, **told}


def _print(
    answers: list[dict[str, Any]],
    columns: tuple[str, ...],
    *,
    as_json: bool,
    rows: list[dict[str, Any]] | None = None,
) -> None:
    """A table or one JSON document; silence of a node is a failure. One whose id nobody knows
    has no row."""
    from p2pgan.record.rundir import to_json

    if as_json:
        sys.stdout.write(to_json({"nodes": answers}))
    else:
        rows = [row for row in (answers if rows is None else rows) if row["node"]]
        if rows:
            _print_table(rows, columns)
    silent = [answer for answer in answers if "error" in answer]
    for answer in silent:
        typer.echo(f"p2pgan: {answer['error']}", err=True)
    if silent:
        raise typer.Exit(1)


def _print_table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="left" if column == "node" else "right")
    for row in rows:
        shown = [row.get(column, "") for column in columns]
        if "error" in row:
            shown = [row["node"], row["answer"], *[""] * (len(columns) - 2)]
        table.add_row(*(escape("-" if value is None else str(value)) for value in shown))
    Console().print(table)
