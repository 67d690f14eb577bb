"""Health and metrics, asked for over real sockets."""

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from p2pgan.daemon.health import LOOP_SILENCE_S
from p2pgan.daemon.http import READERS_MAX, REQUEST_S, HealthServer
from p2pgan.errors import TransportError
from tests.daemon.test_health import health_of


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[HealthServer]:
    made = HealthServer("0", clock)
    yield made
    made.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    with closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)) as asking:
        asking.request(method, path)
        answer = asking.getresponse()
        return answer.status, answer.read().decode()


def test_a_port_alone_is_for_this_machine_only(server: HealthServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")


def test_before_the_loop_turns_nothing_is_well(server: HealthServer) -> None:
    assert get(server, "/healthz") == (503, "not up yet\n")
    assert get(server, "/readyz")[0] == 503
    assert get(server, "/metrics") == (200, "")


def test_a_node_that_trains_is_well_and_ready(server: HealthServer) -> None:
    server.tell(health_of())
    assert get(server, "/healthz") == (200, "ok\n")
    assert get(server, "/readyz") == (200, "ok\n")
    assert get(server, "/readyz?verbose", "HEAD") == (200, "")


@pytest.mark.parametrize("phase", ["gathering", "leaving"])
def test_who_starts_or_ends_lives_but_is_not_ready(server: HealthServer, phase: str) -> None:
    server.tell(health_of(phase=phase))
    assert get(server, "/healthz")[0] == 200
    assert get(server, "/readyz") == (503, f"the node is {phase}\n")


def test_a_loop_that_does_not_turn_is_told_by_the_clock_alone(
    server: HealthServer, clock: Clock
) -> None:
    server.tell(health_of())
    clock.now += LOOP_SILENCE_S + 1
    for path in ("/healthz", "/readyz"):
        status, line = get(server, path)
        assert status == 503
        assert "11 s" in line


def test_a_training_that_hangs_is_told(server: HealthServer) -> None:
    server.tell(health_of(is_degraded=True))
    assert get(server, "/healthz") == (503, "the training hangs\n")


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/metrics", "POST", 405)]
)
def test_other_questions_are_none(
    server: HealthServer, path: str, method: str, status: int
) -> None:
    assert get(server, path, method)[0] == status


def samples(server: HealthServer) -> dict[tuple[str, str], float]:
    """What a Prometheus server would read: values by name and label."""
    families = text_string_to_metric_families(get(server, "/metrics")[1])
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_are_what_prometheus_reads(server: HealthServer) -> None:
    server.tell(health_of())
    told = samples(server)
    assert told["p2pgan_round", ""] == 3
    assert told["p2pgan_iterations", ""] == 60
    assert told["p2pgan_peers", "ready"] == told["p2pgan_peers", "left"] == 1
    assert told["p2pgan_phase", "training"] == 1
    assert told["p2pgan_fid", ""] == 9.5
    assert told["p2pgan_degraded", ""] == 0
    assert told["p2pgan_vectors_total", "sent"] == 0
    assert told["p2pgan_save_failures_total", ""] == 0
    assert told["p2pgan_uptime_seconds", ""] == 60
    assert ("p2pgan_saved_age_seconds", "") not in told, "it has not saved yet"


def test_before_a_score_there_is_none(server: HealthServer) -> None:
    server.tell(health_of(scores=None))
    assert ("p2pgan_fid", "") not in samples(server)


@pytest.mark.parametrize("slow", [READERS_MAX - 1, READERS_MAX])
def test_a_few_may_dawdle_and_with_more_others_are_turned_away(
    server: HealthServer, slow: int
) -> None:
    """Callers are taken in their order, so all who dawdle have their places by then."""
    server.tell(health_of())
    place = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with ExitStack() as stack:
        for _ in range(slow):
            stack.enter_context(socket.create_connection(place))
        if slow < READERS_MAX:
            assert get(server, "/healthz")[0] == 200
        else:
            with pytest.raises(ConnectionError):
                get(server, "/healthz")


def test_who_says_a_byte_now_and_then_keeps_nobody_out_for_long(
    server: HealthServer, clock: Clock, until: Callable[[Callable[[], Any]], Any]
) -> None:
    """The deadline is for a whole request: every byte would begin one of a single read anew."""
    server.tell(health_of())
    place = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(place)) for _ in range(READERS_MAX)]
        with pytest.raises(ConnectionError):
            get(server, "/healthz")  # by now all of them have their places
        clock.now += REQUEST_S
        for reader in slow:
            until(partial(is_cut, reader))
        assert until(lambda: answered(server)) == (200, "ok\n")


def is_cut(reader: socket.socket) -> bool:
    """Whether another byte of it is wanted no more."""
    try:
        reader.sendall(b"G")
    except ConnectionError:
        return True
    return False


def answered(server: HealthServer) -> tuple[int, str] | None:
    """The answer, unless we are turned away."""
    with suppress(ConnectionError):
        return get(server, "/healthz")
    return None


def test_a_port_in_use_is_one_line(server: HealthServer) -> None:
    with pytest.raises(TransportError, match="in use"):
        HealthServer(server.url.removeprefix("http://"))
