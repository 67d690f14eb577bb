import pytest

from p2pgan.errors import OverlayError
from p2pgan.overlay.addresses import check_address, check_place, numbered_addresses


@pytest.mark.parametrize(
    "address",
    ["tcp://10.0.0.3:5550", "tcp://node-1.example:1", "tcp://[::1]:65535", "ipc:///tmp/a.sock"],
)
def test_addresses_of_zeromq_pass(address: str) -> None:
    assert check_address(address, "here") == address


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.3:5550",
        "tcp://10.0.0.3",
        "tcp://:5550",
        "tcp://host:0",
        "tcp://host:65536",
        "tcp://host:٥٥٥٠",
        "tcp://ho st:5",
        "tcp://host:5550\n",
        "udp://host:5550",
        "ipc://",
        "",
        5550,
        None,
    ],
)
def test_anything_else_is_refused_with_value_and_place(address: object) -> None:
    with pytest.raises(OverlayError, match="tcp://HOST:PORT") as caught:
        check_address(address, "ring.json: $.nodes[2]")
    assert caught.value.got == f"`{address}`"
    assert caught.value.at == "ring.json: $.nodes[2]"


@pytest.mark.parametrize(
    "address",
    ["tcp://*:5550", "tcp://0.0.0.0:*", "tcp://127.0.0.1:0", "tcp://*:*", "ipc:///tmp/a.sock"],
)
def test_a_place_may_be_left_open(address: str) -> None:
    assert check_place(address, "--address") == address


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:999999", "tcp://*", "tcp://:0", "*:0", "foo"])
def test_a_place_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(OverlayError, match=r"listen at.*65535.*--address \(hint: such as"):
        check_place(address, "--address")


def test_numbered_addresses_count_ports_up_in_node_order() -> None:
    assert numbered_addresses("tcp://[::1]:7000", ["b", "a", "c"], "here") == {
        "b": "tcp://[::1]:7000",
        "a": "tcp://[::1]:7001",
        "c": "tcp://[::1]:7002",
    }


@pytest.mark.parametrize(
    "base", ["tcp://host:65535", "tcp://host", "tcp://host:0", "ipc:///tmp/x", "host:5550"]
)
def test_numbered_addresses_need_ports_enough(base: str) -> None:
    with pytest.raises(OverlayError, match="with 2 ports up to 65535") as caught:
        numbered_addresses(base, ["a", "b"], "--address-base")
    assert base in caught.value.got
    assert caught.value.at == "--address-base"


def test_the_last_port_may_be_used() -> None:
    assert numbered_addresses("tcp://h:65534", ["a", "b"], "x")["b"] == "tcp://h:65535"
