"""Who is told how a node is: systemd, if it asks, and whoever asks over HTTP, if that is wanted."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from p2pgan.daemon.health import Watcher
from p2pgan.daemon.notify import Notifier


@contextmanager
def watchers(
    http: str, environment: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[list[Watcher]]:
    """Watchers for a loop, as long as the context lasts.

    Args:
        http: where questions are answered; empty: nowhere.
        environment: the process's variables.
        say: takes the line that says where.
    Raises:
        ConfigError: if the address makes no sense.
        TransportError: if it cannot be bound.
    """
    notifier = Notifier(environment)
    try:
        if not http:
            yield [notifier.tell]
            return
        from p2pgan.daemon.http import HealthServer  # most nodes do without

        server = HealthServer(http)
        say(f"health and metrics at {server.url}")
        try:
            yield [notifier.tell, server.tell]
        finally:
            server.close()
    finally:
        notifier.stopping()
