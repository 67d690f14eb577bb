"""Who is told how a node is."""

import pytest

from p2pgan.daemon.watchers import watchers
from p2pgan.errors import ConfigError
from tests.daemon.test_health import health_of


def test_http_is_off_unless_wanted() -> None:
    said: list[str] = []
    with watchers("", {}, said.append) as told:
        assert len(told) == 1
    assert said == []


def test_where_it_answers_is_said() -> None:
    said: list[str] = []
    with watchers("0", {}, said.append) as told:
        for watcher in told:
            watcher(health_of())
    (line,) = said
    assert "http://127.0.0.1:" in line


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError), watchers("here", {}, print):
        pass
