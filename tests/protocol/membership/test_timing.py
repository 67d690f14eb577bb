"""The presets, and what no timing may be."""

import pytest

from p2pgan.errors import LocalProtocolError
from p2pgan.protocol.membership.timing import PRESETS, Timing


def test_wider_networks_have_more_time() -> None:
    local, lan, wan = (PRESETS[name] for name in ("local", "lan", "wan"))
    for one, other in ((local, lan), (lan, wan)):
        assert one.suspicion * one.probe_s < other.suspicion * other.probe_s
        assert one.timeout_s <= other.timeout_s
        assert one.rumor_s < other.rumor_s
    assert all(timing.timeout_s < timing.probe_s for timing in PRESETS.values())


@pytest.mark.parametrize("field", ["probe_s", "timeout_s", "suspicion", "rumor_s", "helpers"])
def test_times_are_above_zero(field: str) -> None:
    values = {"probe_s": 1.0, "timeout_s": 0.5, "suspicion": 3.0, "rumor_s": 0.1, "helpers": 3}
    with pytest.raises(LocalProtocolError):
        Timing(**{**values, field: -1})  # type: ignore[arg-type]
