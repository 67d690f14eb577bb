"""Training gives the recorded curves: a change of any number on the way shows here."""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
TOOL = HERE.parents[1] / "tools" / "make_golden.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_golden"] = module
    spec.loader.exec_module(module)
    return module


def test_training_gives_the_recorded_curves(tool: ModuleType) -> None:
    """If you meant to change training, record anew with `tools/make_golden.py` and say why."""
    assert tool.check(HERE) == []


def test_every_recorded_curve_is_compared(tool: ModuleType) -> None:
    assert {path.stem for path in HERE.glob("*.json")} == set(tool.SETTINGS)


def test_curves_that_differ_or_miss_are_named(tool: ModuleType, tmp_path: Path) -> None:
    for path in HERE.glob("*.json"):
        recorded = json.loads(path.read_text())
        if path.stem == "gossip":
            recorded["loss_g"][-1] *= 1.01
        (tmp_path / path.name).write_text(json.dumps(recorded))
    (tmp_path / "fl-gan.json").unlink()
    assert [line.split(":")[0] for line in tool.check(tmp_path)] == ["gossip.json", "fl-gan.json"]


def test_what_is_written_passes_the_check(tool: ModuleType, tmp_path: Path) -> None:
    tool.write(tmp_path)
    assert tool.check(tmp_path) == []


@pytest.mark.slow
def test_the_tolerance_is_far_above_rounding(tool: ModuleType) -> None:
    """Else another processor's kernels would fail the check."""
    assert tool.measured_sensitivity() < tool.TOLERANCE / 5


def test_differences(tool: ModuleType) -> None:
    curve = {"loss_d": [1.0, 2.0], "consensus_G": [0.0]}
    assert tool.difference(curve, curve) == 0
    assert tool.difference(curve, curve | {"loss_d": [1.0, 2.02]}) == pytest.approx(0.01)
    assert tool.difference(curve, curve | {"loss_d": [1.0, math.nan]}) == math.inf
    assert tool.difference(curve, curve | {"loss_d": [1.0]}) == math.inf
    assert tool.difference(curve, {"loss_d": [1.0, 2.0]}) == math.inf
