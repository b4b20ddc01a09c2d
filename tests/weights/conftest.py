"""The double of the Hub, and a folder that models are staged to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.moto_s3 import empty_bucket, use_s3
from tests.weights.factory import model_files
from tests.weights.hub_double import Hub, serving


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(Hub(model_files())) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    use_s3(s3_address, monkeypatch)
    with empty_bucket("models") as made:
        yield made


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of the models volume, which does not exist yet."""
    monkeypatch.setenv("VICUR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"
