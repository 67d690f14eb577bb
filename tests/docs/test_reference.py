"""The generated reference pages say what the code says."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from p2pgan.config import keys
from p2pgan.gan.models import MODELS, model

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_reference", ROOT / "tools/make_reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_reference"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "commands.md"])
def test_the_page_is_up_to_date(tool: ModuleType, name: str) -> None:
    """If not: `python tools/make_reference.py`."""
    assert (REFERENCE / name).read_text(encoding="utf-8") == tool.PAGES[name]()


def test_every_key_has_a_row_with_type_and_meaning(tool: ModuleType) -> None:
    lines = tool.configuration_page().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    assert [row[0].strip("`") for row in rows] == keys()
    assert all(len(row) == 4 and row[1] and len(row[3]) > 10 for row in rows)


def test_every_command_has_a_section(tool: ModuleType) -> None:
    page = tool.commands_page()
    for words in (
        "simulate",
        "up",
        "node start",
        "topology new",
        "logs tail",
        "sample",
        "data list",
    ):
        assert f"## `p2pgan {words}`\n\n```text\nUsage: p2pgan {words} " in page
    assert "\x1b" not in page


def test_the_table_of_models_has_their_parameters() -> None:
    """Generator and discriminator, as the code counts them."""
    lines = (REFERENCE / "models.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    counts = {row[0].strip("`"): row[2:4] for row in rows if row and row[0].startswith("`")}
    pairs = {name: model(name) for name in MODELS}
    assert counts == {
        name: [f"{network.parameters:,}" for network in (pair.generator, pair.discriminator)]
        for name, pair in pairs.items()
    }


def test_check_names_what_is_stale(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    monkeypatch.setattr(tool, "PAGES", {"configuration.md": tool.configuration_page})
    assert tool.main(["--check"]) == 1
    assert "configuration.md" in capsys.readouterr().err
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    (tmp_path / "configuration.md").write_text("old")
    assert tool.main(["--check"]) == 1
