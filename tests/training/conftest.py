from pathlib import Path

import pytest

from tests.training.factory import save_random_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights."""
    return save_random_base(tmp_path_factory.mktemp("models") / "base")
