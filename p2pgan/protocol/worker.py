"""What the workers of FL-GAN and MD-GAN share: a coordinator, which may be gone for a while.

Theory of operation. A worker does what its coordinator asks, and else waits. When the coordinator
goes, dead or in good order, the worker keeps what it holds and waits: the coordinator may be
started again, and then goes on where it was. What its former boot has asked is void. Only after
`alone_s`, or when the coordinator says that all is done, the worker saves and leaves.
"""

from abc import abstractmethod
from typing import Final

from p2pgan.protocol import instructions as do
from p2pgan.protocol.links import Link
from p2pgan.protocol.machine import Machine
from p2pgan.protocol.messages import Chunk, Done, Message, Refuse
from p2pgan.protocol.phases import Cause, Phase
from p2pgan.protocol.roles import WorkerSettings

ALONE_TIMER: Final = "alone"

HOPELESS: Final = ("protocol", "run", "architecture", "not_neighbor")
"""Refusals that no waiting mends."""


class WorkerMachine(Machine):
    """A worker of a run with a coordinator, without any I/O."""

    __slots__ = ("_alone", "_boot", "_coordinator", "_settings")

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings, self)
        self._settings = settings
        self._coordinator = self._neighborhood.links[settings.coordinator]
        self._boot: str | None = None
        """Of the coordinator that was met last."""
        self._alone = False
        """Whether the wait for the coordinator is on."""

    # -- what a subclass does ----------------------------------------------------------------------

    @abstractmethod
    def bytes_of(self, nets: tuple[str, ...]) -> int:
        """Size of our own networks, as they are sent."""

    @abstractmethod
    def admit(self, link: Link, chunk: Chunk) -> int:
        """As in `exchanges.Gate`."""

    @abstractmethod
    def _void(self) -> None:
        """Whatever the coordinator has asked for, it does not wait for it any more."""

    @abstractmethod
    def _met(self, *, is_new: bool) -> None:
        """The two have met again; `is_new`: it is another boot of the coordinator."""

    @abstractmethod
    def _next(self) -> None:
        """The worker waits: begins what is to be done next, if anything is."""

    def _obey(self, message: Message) -> bool:
        """The coordinator says something of its own kind; `False` if it cannot."""
        del message
        return False

    # -- life --------------------------------------------------------------------------------------

    def _gather(self) -> None:
        self._go_on()

    def _go_on(self) -> None:
        if self._reason:
            return
        self._watch_coordinator()
        if self.phase is Phase.GATHERING and self._coordinator.is_ready:
            self._enter(Cause.GATHERED)
        if self.phase is Phase.WAITING:
            self._next()

    def _watch_coordinator(self) -> None:
        is_alone = not self._coordinator.is_ready
        if is_alone and not self._alone:
            self._set_timer(ALONE_TIMER, self._settings.alone_s)
        elif self._alone and not is_alone:
            self._core.emit(do.CancelTimer(name=ALONE_TIMER))
        self._alone = is_alone

    def _timer(self, name: str) -> None:
        if name == ALONE_TIMER and self._alone and not self._reason:
            coordinator, wait_s = self._settings.coordinator, self._settings.alone_s
            self._failure = f"coordinator gone: `{coordinator}` has not been there for {wait_s:g} s"
            self._hint = f"start `{coordinator}` again, then this node"
            self._stop("coordinator gone")

    def _halt(self) -> None:
        if self.phase in (Phase.GATHERING, Phase.WAITING):
            self._save(Cause.HALTED)

    # -- the coordinator ---------------------------------------------------------------------------

    def _is_coordinator(self, link: Link) -> bool:
        return link is self._coordinator

    def _hear(self, link: Link, message: Message) -> bool:
        if not self._is_coordinator(link):
            return False
        if isinstance(message, Done):
            if not self._reason:
                self._void()
                self._stop("finished")
            return True
        return self._obey(message)

    def _called(self, link: Link) -> None:
        self._meet(link)

    def _welcomed(self, link: Link) -> None:
        self._meet(link)

    def _meet(self, link: Link) -> None:
        if self._is_coordinator(link):
            is_new, self._boot = link.boot != self._boot, link.boot
            self._met(is_new=is_new)

    def _refused(self, link: Link, refuse: Refuse) -> None:
        """A worker that its coordinator cannot use need not wait."""
        super()._refused(link, refuse)
        if (
            self._is_coordinator(link)
            and self.phase is Phase.GATHERING
            and refuse.code in HOPELESS
            and not self._reason
        ):
            self._failure = f"coordinator `{link.peer}` refuses this node: {refuse.text}"
            self._hint = "start it with the settings of the run"
            self._reason = "refused"
            self._close(Cause.ABORTED)
