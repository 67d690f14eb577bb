"""What is configured of daemons."""

from typing import Any

import pytest

from p2pgan.daemons import DaemonConfig, http_place
from p2pgan.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:80", ("::1", 80)),
        ("host:0", ("host", 0)),
    ],
)
def test_addresses(address: str, place: Any) -> None:
    assert http_place(address) == place


@pytest.mark.parametrize("address", ["host", "host:", ":80", "host:x", "host:65536", "h:-1", "²"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.http"):
        http_place(address)
    with pytest.raises(ConfigError, match=r"daemon\.http"):
        DaemonConfig(http=address)
