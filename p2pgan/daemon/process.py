"""One daemon process, from a plan to an exit status."""

import hashlib
import os
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, TypeVar

import msgspec
import torch

from p2pgan.config import (
    RUN_TABLE,
    RunConfig,
    common_settings,
    config_from,
    flat,
    read_settings,
    read_tables,
    to_toml,
)
from p2pgan.daemon.joining import Newcomer
from p2pgan.daemon.node import NodeLoop
from p2pgan.daemon.sole import sole
from p2pgan.daemon.trainer import Trainer
from p2pgan.daemon.transport import Transport, allow_descriptors
from p2pgan.daemon.watchers import watchers
from p2pgan.errors import (
    ConfigError,
    P2PGanError,
    RecordError,
    RemoteProtocolError,
    TransportError,
)
from p2pgan.experiment import Experiment, prepare
from p2pgan.files import Reached, remove_parts, unwatched
from p2pgan.inspect.words import Teller
from p2pgan.node.around import Company
from p2pgan.node.host import Ended
from p2pgan.node.kept import Resumption
from p2pgan.node.roles import neighbors_of, part_of, whole_overlay
from p2pgan.node.seat import Seat, write_checkpoint
from p2pgan.overlay import files as overlay_files
from p2pgan.overlay.graph import Overlay
from p2pgan.protocol import events as ev
from p2pgan.protocol.instructions import Record
from p2pgan.record.rundir import RunDirectory, write_text_atomic
from p2pgan.record.schema import KINDS, Body, CheckpointRestored
from p2pgan.record.writer import RecordWriter
from p2pgan.runs import commit, run_started, versions
from p2pgan.types import COORDINATOR

EXIT_DONE: Final = 0
EXIT_INTERRUPTED: Final = 130
"""Of a node that was told to stop at once; one that has stopped in good order is done."""

ABORTED: Final = "aborted"
"""Why a node stopped that was told so twice."""

TRAINER_CLOSE_S: Final = 1.0
"""How long an ending node waits for its training thread, which is done unless it was aborted."""

TOLD_KEYS: Final = 3
"""How many settings a refusal tells the values of."""

HUB_HINT: Final = (
    "`p2pgan topology new complete --nodes 5 --hub --address-base tcp://127.0.0.1:5550 --out "
    "hub.json` makes an overlay file with a coordinator"
)

Told = TypeVar("Told")
Say = Callable[[str], None]
"""Shows a line to whoever started the node."""


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """What one process is to run; plain data, so that it can be handed to another process."""

    config: RunConfig
    """Resolved or not; its overlay names a file or a family."""
    node: str
    run: str
    directory: Path
    """The run directory, which is there already."""
    data_dir: Path
    overlay_file: Path
    """The overlay with everybody's address."""
    address: str | None = None
    """Where to listen, if not at the overlay's address."""
    advertised: str | None = None
    """Where newcomers are told that this node listens, if not there."""
    newcomer: Newcomer | None = None
    """What it was told of the run, if it comes later."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The process's variables, as far as whoever has started it speaks through them."""
    resume: bool = False
    """Whether it was started before and goes on in its log: from its checkpoint, if it has one, or
    a worker with what its coordinator gives it."""


def check_addresses(
    experiment: Experiment, overlay: Overlay, node: str, address: str | None
) -> None:
    """Everybody that a node talks to has an address, and so has the node.

    Raises:
        ConfigError: naming the first that has none.
    """
    for name in (*([] if address else [node]), *neighbors_of(experiment, overlay, node)):
        _address(overlay, name)


def run_name(experiment: Experiment) -> str:
    """The name of a run that nobody named: equal settings and overlay give equal names."""
    config, overlay = experiment.config, experiment.overlay
    edges = sorted(map(sorted, overlay.graph.edges))
    common = repr((common_settings(config), overlay.nodes, edges))
    digest = hashlib.blake2b(common.encode(), digest_size=4).hexdigest()
    dataset = experiment.data_name
    return f"{config.algorithm}-{dataset}-n{config.nodes}-s{config.seed}-{digest}"


def share_directory(
    experiment: Experiment, path: Path, run: str, node: str, *, resume: bool = False
) -> RunDirectory:
    """A run directory for a node started by hand: made, or joined if it is of the same run.

    Args:
        experiment: what is run.
        path: the directory.
        run: name of the run.
        node: who starts.
        resume: whether it goes on in the log of its earlier start, which has to lie there.
    Raises:
        RecordError: if another run lies there, or an earlier start of this node that it does not
            go on from; or if it is to go on, and nothing lies there.
    """
    directory = RunDirectory.open(path) if resume else RunDirectory(path)
    if not directory.run_toml.is_file():
        _make_shared(experiment, directory, run)
    _check_same_run(experiment.config, directory, run)
    _check_log(experiment, directory, node, resume=resume)
    return directory


def join_directory(
    experiment: Experiment, directory: RunDirectory, run: str, node: str, *, resume: bool
) -> RunDirectory:
    """The run directory of a newcomer: made, or that of its run, if it lies on this machine.

    Raises:
        RecordError: as `share_directory`.
    """
    if resume:
        RunDirectory.open(directory.path)
    elif not directory.run_toml.is_file():
        _write_run_toml(experiment, directory, run)
    name = read_tables(directory.run_toml).get(RUN_TABLE, {}).get("name")
    if name != run:
        raise RecordError(
            expected=f"run `{run}`",
            got=f"run `{name}`",
            at=str(directory.run_toml),
            hint="choose another place with `--out`",
        )
    _check_log(experiment, directory, node, resume=resume)
    return directory


def _check_log(experiment: Experiment, directory: RunDirectory, node: str, *, resume: bool) -> None:
    """A node that goes on has a log, and one that begins has none."""
    log = directory.node_events(node)
    if resume and not log.exists():
        raise RecordError(
            expected=f"the log of node `{node}`, to go on in",
            got="none",
            at=str(log),
            hint="start it without `--resume`, or name its run directory with `--out`",
        )
    if log.exists() and not resume:
        raise RecordError(
            expected=f"no log of node `{node}` yet",
            got="one",
            at=str(log),
            hint="choose another place with `--out`, or go on in it with `--resume`",
        )


def run_node(
    plan: NodePlan, say: Say, experiment: Experiment | None = None, reached: Reached = unwatched
) -> int:
    """Runs one node until it is done or stopped; its exit status.

    Args:
        plan: what to run.
        say: takes lines for people; a terminal that is gone or a full disk does not stop the node.
        experiment: what `plan.config` stands for, if it was prepared already.
        reached: told of the points in saving, in the training thread.
    Raises:
        P2PGanError: for whatever keeps it from running, or made it fail.
    """
    torch.set_num_threads(plan.config.daemon.threads)
    experiment = experiment or prepare(plan.config, plan.data_dir)
    with sole(RunDirectory(plan.directory), plan.node):
        return _run_alone(plan, undaunted(say), experiment, reached)


def _run_alone(plan: NodePlan, say: Say, experiment: Experiment, reached: Reached) -> int:
    """Runs a node that no other process is."""
    overlay = overlay_files.read(plan.overlay_file)
    directory = RunDirectory(plan.directory)
    seat = replace(
        _seat(plan, experiment, directory, say), write=partial(write_checkpoint, reached=reached)
    )
    part = part_of(experiment, overlay, seat, _company(plan, experiment, overlay))
    neighbors = {peer: _address(overlay, peer) for peer in part.neighbors}
    allow_descriptors()
    transport = Transport(plan.address or _address(overlay, plan.node), neighbors, say=say)
    trainer = Trainer(part.make_work, transport.wake, plan.config.daemon.stalled_s)
    start_s = time.monotonic()
    ended: Ended | None = None
    try:
        with (
            watchers(plan.config.daemon.http, plan.environment, say) as told,
            RecordWriter(
                directory.node_events(plan.node),
                plan.run,
                plan.node,
                wall=lambda: datetime.now(UTC),
                time_s=lambda: time.monotonic() - start_s,
            ) as writer,
        ):
            log = Log(writer, directory, say)
            log.begin(plan, experiment, seat.resumption)
            chunk_bytes = plan.config.daemon.chunk_bytes
            loop = NodeLoop(part.machine, transport, trainer, log, chunk_bytes=chunk_bytes)
            loop.provide(part.snapshot, part.seal)
            loop.count_lost(lambda: writer.lost)
            for watcher in told:
                loop.watch(watcher)
            say(_ready_line(plan, transport))
            with _signals(loop):
                ended = loop.run(os.getpid())
    finally:
        _close(trainer, transport, ended)
    return _status(ended, plan, say)


def _close(trainer: Trainer, transport: Transport, ended: Ended | None) -> None:
    """Whoever insists waits neither for the training thread nor for what is still to be sent."""
    if ended is not None and ended.reason == ABORTED:
        trainer.close(0.0)
        transport.close(linger_ms=0)
    else:
        trainer.close(TRAINER_CLOSE_S)
        transport.close()


def _company(plan: NodePlan, experiment: Experiment, overlay: Overlay) -> Company:
    """Whom the node knows of when it starts."""
    shared = to_toml(experiment.config)
    address = plan.advertised or ""
    new = plan.newcomer
    if new is None:
        return Company(base=overlay, config=shared, address=address)
    return Company(
        base=new.base,
        config=shared,
        members=new.charter.members,
        address=address,
        since=new.since,
        is_new=not plan.resume,
    )


def _seat(plan: NodePlan, experiment: Experiment, directory: RunDirectory, say: Say) -> Seat:
    checkpoint = directory.checkpoint(plan.node)
    resumption = None
    if _goes_on(plan, experiment):
        resumption = Resumption.newest(checkpoint, experiment.model)
        if resumption is None:
            say(f"warning: no checkpoint at {checkpoint}: the run begins anew")
        elif resumption.passed_over:
            say(f"warning: goes on from {resumption.path}: {resumption.passed_over}")
    remove_parts(checkpoint.parent)
    return Seat(
        node=plan.node,
        run=plan.run,
        checkpoint=checkpoint,
        boot=secrets.token_hex(8),
        resumption=resumption,
    )


def _goes_on(plan: NodePlan, experiment: Experiment) -> bool:
    """Whether the node is to go on from a checkpoint: workers of a coordinator keep none."""
    return plan.resume and (plan.node == COORDINATOR or not experiment.algorithm.has_coordinator)


def leave_process(status: int) -> NoReturn:
    """Ends the process of a node that is over, at once.

    The interpreter's usual end takes the libraries apart, which takes seconds on a busy machine;
    and it tears a training thread that an abort has left behind out of its arithmetic, of which the
    process dies by a signal instead of ending with its status.
    """
    for stream_out in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream_out.flush()
    os._exit(status)


class Log:
    """Writes the machine's records, and shows some of them to people."""

    def __init__(self, writer: RecordWriter, directory: RunDirectory, say: Say) -> None:
        self._writer, self._directory, self._say = writer, directory, say
        self._teller = Teller()
        self._saved = ""

    def __call__(self, record: Record) -> None:
        fields = dict(record.fields)
        if record.kind == "checkpoint_saved":
            fields["path"] = os.path.relpath(fields["path"], self._directory.path)
        self._write(msgspec.convert(fields, KINDS[record.kind]), record.clock)
        self._show(record.kind, fields)

    def begin(self, plan: NodePlan, experiment: Experiment, resumption: Resumption | None) -> None:
        """Writes the first record of this start."""
        if resumption is None:
            is_anew = _goes_on(plan, experiment)
            self._write(run_started(experiment.config, is_anew=is_anew), clock=0)
            return
        restored = CheckpointRestored(
            path=os.path.relpath(resumption.path, self._directory.path),
            iterations=resumption.checkpoint.iterations,
        )
        self._write(restored, clock=0)

    def _write(self, body: Body, clock: int) -> None:
        try:
            self._writer.write(body, clock=clock)
        except RecordError as error:
            self._say(f"warning: {error}")  # a full disk does not stop the training

    def _show(self, kind: str, fields: Mapping[str, object]) -> None:
        match kind:
            case "checkpoint_saved":  # a coordinator saves after every round
                self._saved = f"saved {self._directory.path / str(fields['path'])}"
            case "node_stopped" if self._saved:
                self._say(self._saved)
            case "node_started" | "node_stopped":
                pass  # whoever started the node sees it
            case _:
                if line := self._teller.tell("", kind, fields):
                    self._say(line)


def undaunted(tell: Callable[[Told], None]) -> Callable[[Told], None]:
    """`tell`, whoever listens: an `OSError` of it, as of a terminal that is gone, is not ours."""

    def told(what: Told) -> None:
        with suppress(OSError):
            tell(what)

    return told


@contextmanager
def _signals(loop: NodeLoop) -> Iterator[None]:
    """SIGINT and SIGTERM stop the node in good order; SIGINT after either stops it at once."""
    stopping = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        del frame
        interrupted = number == signal.SIGINT
        if interrupted and stopping:
            loop.wish(ev.Abort(reason=ABORTED))
        elif not stopping:
            loop.wish(ev.StopRequested(reason="interrupted" if interrupted else "terminated"))
        stopping = True

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(overlay: Overlay, node: str) -> str:
    address = overlay.address(node)
    if address is None:
        raise ConfigError(
            expected=f"an address of node `{node}`",
            got="none",
            at=f"overlay `{overlay.name}`",
            hint=HUB_HINT
            if node == COORDINATOR
            else 'give every node an `"address": "tcp://HOST:PORT"` in the overlay file',
        )
    return address


def _ready_line(plan: NodePlan, transport: Transport) -> str:
    return (
        f"node `{plan.node}` of run `{plan.run}` listens at {transport.address} "
        f"(status: p2pgan node status --control {transport.control})"
    )


def _status(ended: Ended, plan: NodePlan, say: Say) -> int:
    at = f"node `{plan.node}` of run `{plan.run}`"
    if ended.reason == "refused":
        raise RemoteProtocolError(
            expected="a place in the run", got=ended.failure, at=at, hint=ended.hint
        )
    if isinstance(ended.error, P2PGanError):
        raise ended.error
    if ended.error is not None:
        say("".join(traceback.format_exception(ended.error)).rstrip())
        raise P2PGanError(
            expected="work without a fault", got=f"`{ended.failure}`", at=at, hint="see above"
        )
    if ended.failure:  # nothing broke here; the others are gone
        raise TransportError(
            expected="a run that goes on", got=ended.failure, at=at, hint=ended.hint
        )
    return EXIT_INTERRUPTED if ended.reason == ABORTED else EXIT_DONE


def _make_shared(experiment: Experiment, directory: RunDirectory, run: str) -> None:
    """Makes the directory, possibly side by side with another node that does just the same."""
    try:
        RunDirectory.create(directory.path, name=run)
    except RecordError:
        if not _is_in_the_making(directory):
            raise
    overlay_files.write(whole_overlay(experiment), directory.overlay_json)
    if not directory.run_toml.is_file():
        _write_run_toml(experiment, directory, run)


def _write_run_toml(experiment: Experiment, directory: RunDirectory, run: str) -> None:
    about = {"name": run, "versions": versions(), "commit": commit() or ""}
    write_text_atomic(directory.run_toml, to_toml(experiment.config, **{RUN_TABLE: about}))


def _is_in_the_making(directory: RunDirectory) -> bool:
    """Whether nothing else lies there than what a node that starts writes first."""
    if directory.run_toml.is_file():
        return True
    first = directory.overlay_json.name
    try:
        names = {path.name for path in directory.path.iterdir()}
    except OSError:
        return False
    return all(name == first or name.endswith(".part") for name in names)


def _check_same_run(config: RunConfig, directory: RunDirectory, run: str) -> None:
    at = str(directory.run_toml)
    there = config_from(read_settings(directory.run_toml), at=at)
    name = read_tables(directory.run_toml).get(RUN_TABLE, {}).get("name")
    ours, theirs = flat(common_settings(config)), flat(common_settings(there))
    unlike = sorted(key for key in ours if ours[key] != theirs.get(key))
    if name == run and not unlike:
        return
    raise RecordError(
        expected=f"run `{run}` with the same settings{_listed(unlike, ours)}",
        got=f"run `{name}`{_listed(unlike, theirs)}",
        at=at,
        hint="choose another place with `--out`, or the same settings and `--run`",
    )


def _listed(keys: Sequence[str], settings: Mapping[str, object]) -> str:
    """The first few of some settings, as the tail of a sentence."""
    told = [f"`{key} = {settings.get(key)}`" for key in keys[:TOLD_KEYS]]
    more = len(keys) - len(told)
    return "".join([": ", ", ".join(told), f" and {more} more" if more else ""]) if told else ""
