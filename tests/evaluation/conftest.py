from pathlib import Path

import pytest

from tests.evaluation.factory import comparison_inputs
from tests.training.factory import save_random_base
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.data import DigitScenesConfig, Pool
from vicur.cues import extract
from vicur.data import prepare, read_examples
from vicur.data.schema import Example
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker

SMALL = DigitScenesConfig(
    base=Pool(digits_per_class=2, scenes=2),
    distill=Pool(digits_per_class=4, scenes=6),
    validation=Pool(digits_per_class=2, scenes=40),
    test=Pool(digits_per_class=4, scenes=80),
    ood=Pool(digits_per_class=2, scenes=40),
)


def context(folder: Path) -> Context:
    """Return a context that logs only events, in ``folder``."""
    return Context("run", 0, Tracker(), Events("stage", folder / "events.jsonl"), folder)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of digit scenes."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "data").mkdir()
    prepare(SMALL, {}, folder / "data", context(folder))
    return folder / "data"


@pytest.fixture(scope="session")
def cues(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotated cues of the dataset."""
    folder = tmp_path_factory.mktemp("cues")
    (folder / "cues").mkdir()
    extract(CuesConfig(provider=AnnotationCues()), {"dataset": dataset}, folder / "cues", context(folder))
    return folder / "cues"


@pytest.fixture(scope="session")
def held_out(dataset: Path) -> list[Example]:
    """The validation, test and out-of-domain questions of the dataset."""
    return [e for split in ("validation", "test", "ood") for e in read_examples(dataset, split)]


@pytest.fixture(scope="session")
def compared(
    dataset: Path, cues: Path, held_out: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Inputs of the compare stage for simulated students ``opsd`` and ``vicur``."""
    return comparison_inputs(tmp_path_factory.mktemp("compared"), dataset, cues, held_out)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights."""
    return save_random_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty output folder for a stage."""
    folder = tmp_path / "output"
    folder.mkdir()
    return folder
