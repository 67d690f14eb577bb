"""A checkpoint on disk can always be loaded, whatever happens while it is written."""

from collections.abc import Mapping
from pathlib import Path

from p2pgan.errors import CheckpointError
from p2pgan.gan.checkpoint import load
from p2pgan.protocol import events as ev
from p2pgan.record.rundir import RunDirectory
from p2pgan.sim.virtual.invariants.ground import Ground, Invariant, See
from p2pgan.sim.virtual.world import Moment


class Saved(Invariant):
    """What a node has saved can be loaded: when it was saved, when something else could not be, and
    when the node starts again."""

    def __init__(self, ground: Ground, directory: RunDirectory) -> None:
        super().__init__(ground)
        self._directory = directory

    def events(self) -> Mapping[type[ev.Event], See]:
        """As `Invariant.events`."""
        return {
            ev.SavingDone: self._saved,
            **dict.fromkeys((ev.SavingFailed, ev.Started), self._former),
        }

    def _saved(self, moment: Moment) -> None:
        assert isinstance(moment.event, ev.SavingDone)
        if moment.event.path:
            self._check(moment.node, Path(moment.event.path))

    def _former(self, moment: Moment) -> None:
        """What was saved before, if anything was."""
        path = self._directory.checkpoint(moment.node)
        if path.is_file():
            self._check(moment.node, path)

    def _check(self, node: str, path: Path) -> None:
        try:
            load(path, self.ground.design.model)
        except CheckpointError as error:
            self.ground.fail(node, expected="a checkpoint that can be loaded", got=f"{error}")
