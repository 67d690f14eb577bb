"""Checks of configured values, with one way to say what was expected."""

from p2pgan.errors import ConfigError


def check(ok: bool, field: str, expected: str, value: object) -> None:
    """Refuses a value.

    Args:
        ok: whether it is what was expected.
        field: the key, such as `train.loss`.
        expected: what would be right, in words.
        value: what came.
    Raises:
        ConfigError: if it is not.
    """
    if not ok:
        raise ConfigError(expected=expected, got=f"`{value}`", at=field)


def check_least(field: str, value: int, least: int) -> None:
    """Refuses whole numbers below `least`; raises as `check`."""
    check(value >= least, field, f"a whole number of at least {least}", value)
