"""Where data sets lie."""

from pathlib import Path

import platformdirs
import pytest

from p2pgan.cli.paths import data_dir


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("P2PGAN_DATA_DIR", str(tmp_path))
    assert data_dir() == tmp_path
    monkeypatch.setenv("P2PGAN_DATA_DIR", "~/data")
    assert data_dir() == Path.home() / "data"


@pytest.mark.parametrize("value", [None, ""])
def test_otherwise_it_is_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("P2PGAN_DATA_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("P2PGAN_DATA_DIR", value)
    assert data_dir().is_relative_to(platformdirs.user_cache_path("p2pgan", appauthor=False))
