"""Who plays: gives every incarnation of every node its machine and its work."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from p2pgan.design import Design
from p2pgan.experiment import Experiment
from p2pgan.gan.cohort import Trainees
from p2pgan.node.around import Company, Views, around_of, timing_of
from p2pgan.node.kept import Resumption
from p2pgan.node.roles import part_of, peer_draws, peer_settings
from p2pgan.node.seat import Seat
from p2pgan.node.work import CohortWork, Row
from p2pgan.overlay.graph import Overlay
from p2pgan.protocol.machines import machine_of
from p2pgan.record.rundir import RunDirectory
from p2pgan.sim.virtual.world import Role
from p2pgan.types import COORDINATOR

Write = Callable[[Path, bytes], None]


def addresses_of(nodes: Iterable[str]) -> dict[str, str]:
    """Addresses of nodes that need none: what machines tell each other has its usual length."""
    return {node: f"tcp://10.0.0.1:{1 + number}" for number, node in enumerate(nodes)}


class Peers:
    """Nodes of a gossip run: rows of one cohort.

    A node that starts again goes on from its checkpoint to the bit, or from the beginning if it has
    none: the cohort lives on, but its row, streams and optimisers are set back.

    Args:
        design: what is run.
        cohort: all nodes, in the run's order.
        directory: where they save.
        run: name of the run.
    """

    def __init__(self, design: Design, cohort: Trainees, directory: RunDirectory, run: str) -> None:
        self._design, self._cohort, self._directory, self._run = design, cohort, directory, run
        self._index = {node: index for index, node in enumerate(design.nodes)}
        self._timing = timing_of(design.config.membership, "off")
        self._company = Company(base=design.overlay.with_addresses(addresses_of(design.nodes)))
        self._views = Views(self._company.base, mend=design.config.membership.mend)
        self._first: dict[str, Resumption] = {}
        """What each node began with, of those that have lived."""

    def role(self, node: str, boot: str, write: Write) -> Role:
        """What a process that starts now does."""
        path = self._directory.checkpoint(node)
        resumption = self._first.get(node)
        if resumption is not None:
            resumption = Resumption.newest(path, self._design.model) or resumption
        seat = Seat(
            node=node,
            run=self._run,
            checkpoint=path,
            boot=boot,
            resumption=resumption,
            write=write,
        )
        work = CohortWork(self._design, seat, Row(self._cohort, self._index[node]))
        draws = peer_draws(self._design, seat)
        if resumption is None:
            self._first[node] = Resumption.of(path, work.checkpoint(draws.seal(b"")))
        settings = replace(
            peer_settings(self._design, self._design.overlay, seat, draws),
            is_scored=lambda round_: False,  # who looks at the nodes is no node
            checkpoint_s=0.0,  # only rounds count, so that equal seeds save alike
        )
        if self._timing is not None and settings.neighbors:
            around = around_of(self._design, seat, self._company, self._timing, self._views)
            settings = replace(settings, around=around)
        return Role(machine=machine_of(settings), work=work, seal=draws.seal)


class Everybody:
    """Nodes of a run with a coordinator, each with networks of its own.

    A worker that starts again begins anew, and a coordinator goes on from its checkpoint.

    Args:
        experiment: what is run.
        overlay: with the coordinator.
        directory: where they save.
        run: name of the run.
    """

    def __init__(
        self, experiment: Experiment, overlay: Overlay, directory: RunDirectory, run: str
    ) -> None:
        self._experiment, self._overlay = experiment, overlay
        self._directory, self._run = directory, run

    def role(self, node: str, boot: str, write: Write) -> Role:
        """What a process that starts now does."""
        path = self._directory.checkpoint(node)
        resumption = None
        if node == COORDINATOR and path.is_file():
            resumption = Resumption.read(path, self._experiment.model)
        seat = Seat(
            node=node,
            run=self._run,
            checkpoint=path,
            boot=boot,
            resumption=resumption,
            write=write,
        )
        part = part_of(self._experiment, self._overlay, seat)
        return Role(
            machine=part.machine, work=part.make_work(), seal=part.seal, snapshot=part.snapshot
        )
