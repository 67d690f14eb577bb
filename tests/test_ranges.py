"""Checks of configured values."""

import pytest

from p2pgan.errors import ConfigError
from p2pgan.ranges import check, check_least


def test_what_is_right_passes() -> None:
    check(True, "a.b", "anything", 1)
    check_least("a.b", 3, 3)


def test_what_is_wrong_says_what_where_and_what_would_be_right() -> None:
    with pytest.raises(ConfigError) as caught:
        check(False, "train.loss", "a loss", "hing")
    error = caught.value
    assert (error.expected, error.got, error.at) == ("a loss", "`hing`", "train.loss")


def test_less_than_the_least_is_refused() -> None:
    with pytest.raises(ConfigError, match="a whole number of at least 3, got `2` - at nodes"):
        check_least("nodes", 2, 3)
