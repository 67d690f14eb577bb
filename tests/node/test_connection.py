"""How connections behave: numbers that have to fit each other, and what is built on them."""

from p2pgan.daemons import DaemonConfig
from p2pgan.node import connection
from p2pgan.sim.virtual import network


def test_a_heartbeat_is_missed_several_times_before_a_connection_is_cut() -> None:
    assert connection.HEARTBEAT_TIMEOUT_MS >= 3 * connection.HEARTBEAT_MS


def test_attempts_back_off() -> None:
    assert 0 < connection.RECONNECT_MS < connection.RECONNECT_MAX_MS


def test_what_waits_on_a_connection_is_bounded_as_it_is_said_to_be() -> None:
    assert connection.HIGH_WATER_MARK * DaemonConfig().chunk_bytes <= 16 * 2**20


def test_virtual_time_imitates_these() -> None:
    seconds = (connection.HEARTBEAT_MS + connection.HEARTBEAT_TIMEOUT_MS) / 1000
    assert seconds == network.SILENCE_S
    assert connection.RECONNECT_MAX_MS / 1000 == network.RECONNECT_MAX_S
