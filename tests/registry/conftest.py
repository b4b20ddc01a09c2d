"""Real students to register, with what the pipeline says of them: tiny Qwen3-VLs, simulated readers' answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.conftest import SMALL, context
from tests.evaluation.factory import BASE, Reader
from tests.registry.factory import registration_inputs
from tests.tracking.conftest import empty_store, project, server
from tests.training.factory import save_random_base
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.cues import extract
from vicur.data import prepare

__all__ = ["empty_store", "project", "server"]

OTHER = SMALL.model_copy(update={"test": Pool(digits_per_class=4, scenes=70)})

Make = Callable[..., dict[str, Path]]


def _made(root: Path, config: DigitScenesConfig) -> dict[str, Path]:
    (root / "dataset").mkdir()
    (root / "cues").mkdir()
    prepare(config, {}, root / "dataset", context(root))
    extract(CuesConfig(provider=AnnotationCues()), {"dataset": root / "dataset"}, root / "cues", context(root))
    return {"dataset": root / "dataset", "cues": root / "cues"}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small dataset of digit scenes and its cues."""
    return _made(tmp_path_factory.mktemp("data"), SMALL)


@pytest.fixture(scope="session")
def other_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Another dataset and its cues."""
    return _made(tmp_path_factory.mktemp("other"), OTHER)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights."""
    return save_random_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="session")
def students(data: dict[str, Path], base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes the inputs of the registration stage for a simulated reader; the same reader gives the same inputs."""
    made: dict[str, dict[str, Path]] = {}

    def make(reader: Reader, base: Reader = BASE) -> dict[str, Path]:
        key = f"{reader} {base}"
        if key not in made:
            root = tmp_path_factory.mktemp(reader.method)
            made[key] = registration_inputs(root, data, base_model, reader, base)
        return made[key]

    return make
