"""`/healthz`, `/readyz` and `/metrics` over HTTP, for whoever watches many nodes.

Served by threads of its own from the latest `Health` that the loop has published; nothing here
touches the machine, and a slow reader slows nobody. There is no authentication: it listens where it
is told to, by default nowhere, and says nothing that a log would not.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from p2pgan.daemon.health import VECTOR, Health
from p2pgan.daemons import http_place
from p2pgan.errors import TransportError

READERS_MAX: Final = 8
"""Requests that are answered side by side; more are turned away."""

REQUEST_S: Final = 5.0
"""Who has not said by then what it wants, or not taken the answer, is cut."""

STOP_S: Final = 0.1
"""Between two looks of the server whether it should end."""

TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")


class HealthServer:
    """Answers questions about one node; `tell` is a watcher of its loop.

    Args:
        address: `HOST:PORT`, or `PORT` for this machine only; port 0: any that is free.
        clock: the loop's.
    Raises:
        ConfigError: for an address that makes no sense.
        TransportError: if it cannot be bound.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        host, port = http_place(address)
        self._clock = clock
        self._health: Health | None = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Metrics(self._latest))
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        try:
            self._server = _server(host, port, self._answer, clock)
        except OSError as error:
            raise TransportError(
                expected="an address of this machine that is free",
                got=error.strerror or str(error),
                at=f"daemon.http, `{address}`",
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_S,), name="http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers, with the port that was really bound."""
        host, port = self._server.host, self._server.server_port
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def tell(self, health: Health) -> None:
        """Takes how the node is now."""
        self._health = health

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _latest(self) -> Health | None:
        return self._health

    def _answer(self, asked: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        health, path = self._health, asked.get("PATH_INFO", "")
        if asked["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _say(start, "405 Method Not Allowed", "expected GET")
        match path:
            case "/metrics":
                return self._metrics(asked, start)
            case "/healthz":
                return _verdict(start, self._problem(health))
            case "/readyz":
                return _verdict(start, _unready(health) or self._problem(health))
        return _say(start, "404 Not Found", "expected /healthz, /readyz or /metrics")

    def _problem(self, health: Health | None) -> str:
        return "not up yet" if health is None else health.problem(self._clock())


def _unready(health: Health | None) -> str:
    if health is None or health.standing == "taking part":
        return ""
    return f"the node is {health.statistics.phase}"


def _verdict(start: StartResponse, problem: str) -> Iterable[bytes]:
    if problem:
        return _say(start, "503 Service Unavailable", problem)
    return _say(start, "200 OK", "ok")


def _say(start: StartResponse, status: str, line: str) -> Iterable[bytes]:
    start(status, [TEXT])
    return [f"{line}\n".encode()]


class _Metrics(Collector):
    """The latest health as Prometheus reads it."""

    def __init__(self, latest: Callable[[], Health | None]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        health = self._latest()
        if health is not None:
            yield from _gauges(health)
            yield from _counters(health)


def _gauges(health: Health) -> Iterator[Metric]:
    told = health.statistics
    values: list[tuple[str, str, float | None]] = [
        ("round", "Rounds finished.", told.round),
        ("iterations", "Iterations made.", told.iterations),
        ("iterations_wanted", "Iterations of the whole run.", told.iterations_total),
        ("uptime_seconds", "Since the loop began.", health.uptime_s),
        ("degraded", "1: the training shows no sign of life.", told.is_degraded),
        ("paused", "1: somebody wants it to train no more for now.", told.is_paused),
        ("held_bytes", "Vectors in memory that are not mixed yet.", told.held_bytes),
        ("waiting_vectors", "Vectors received and not yet mixed.", told.waiting),
        ("unacknowledged_vectors", "Vectors sent and not yet acknowledged.", told.unacknowledged),
        ("saved_age_seconds", "Since the last checkpoint; absent before the first.", _age(health)),
        ("fid", "FID when it was scored last.", told.scores.fid if told.scores else None),
        ("ms", "MS when it was scored last.", told.scores.ms if told.scores else None),
        (
            "local_health_score",
            "Lifeguard's score of the node's own senses, from 0, the best, to 8.",
            told.members.local_health if told.members else 0,
        ),
    ]
    for name, text, value in values:
        if value is not None:
            yield GaugeMetricFamily(f"p2pgan_{name}", text, value=float(value))
    phase = GaugeMetricFamily("p2pgan_phase", "1 for where the node stands.", labels=["phase"])
    phase.add_metric([told.phase], 1)
    yield phase
    if told.members is not None:
        members = GaugeMetricFamily("p2pgan_members", "Members by state.", labels=["state"])
        for state in ("alive", "suspects", "dead", "left"):
            members.add_metric([state], getattr(told.members, state))
        yield members
    peers = GaugeMetricFamily("p2pgan_peers", "Neighbors by state.", labels=["state"])
    states = [peer.state for peer in told.peers]
    for state in sorted({"ready", *states}):
        peers.add_metric([state], states.count(state))
    yield peers


def _counters(health: Health) -> Iterator[Metric]:
    vectors = CounterMetricFamily("p2pgan_vectors", "Vectors, by event.", labels=["event"])
    sizes = CounterMetricFamily(
        "p2pgan_vector_bytes", "Bytes of vectors, by event.", labels=["event"]
    )
    for event in ("sent", "received", "mixed", "dropped"):
        vectors.add_metric([event], health.records.get(VECTOR + event, 0))
        sizes.add_metric([event], health.vector_bytes.get(VECTOR + event, 0))
    yield vectors
    yield sizes
    saves = health.records.get("checkpoint_saved", 0)
    failed = health.records.get("checkpoint_failed", 0)
    yield CounterMetricFamily("p2pgan_saves", "Checkpoints saved.", value=saves)
    yield CounterMetricFamily("p2pgan_save_failures", "Checkpoints that failed.", value=failed)
    told = health.statistics
    yield CounterMetricFamily(
        "p2pgan_malformed", "Messages that are none.", value=float(told.malformed)
    )
    yield CounterMetricFamily("p2pgan_refusals", "Handshakes refused.", value=float(told.refusals))


def _age(health: Health) -> float | None:
    return None if health.saved_s is None else max(0.0, health.at_s - health.saved_s)


class _Quiet(WSGIRequestHandler):
    """Writes no line per request."""

    def log_message(self, format: str, *args: object) -> None:
        del format, args


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each of a few readers, who have a deadline for all that they say together."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, place: tuple[str, int], clock: Callable[[], float]) -> None:
        self._places = threading.BoundedSemaphore(READERS_MAX)
        self._clock = clock
        self._until_s: dict[socket.socket, float] = {}
        """When the readers that are there are cut."""
        super().__init__(place, _Quiet)

    def server_bind(self) -> None:
        """Without the look-up of a name that nobody needs."""
        TCPServer.server_bind(self)
        self.host = str(self.server_address[0])
        self.server_name, self.server_port = "p2pgan", self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            self._until_s[request] = self._clock() + REQUEST_S
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def service_actions(self) -> None:
        """Cuts who has taken too long; its thread finds the connection at its end."""
        now = self._clock()
        for request, until_s in self._until_s.copy().items():
            if until_s <= now:
                with suppress(OSError):  # gone in this moment
                    request.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._until_s[request]
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away is no news."""
        del request, client_address


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server(host: str, port: int, answer: WSGIApplication, clock: Callable[[], float]) -> _Server:
    made = (_Server6 if ":" in host else _Server)((host, port), clock)
    made.set_app(answer)
    return made
