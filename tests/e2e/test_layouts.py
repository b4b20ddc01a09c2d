"""Public layouts from their files to a trained student, with the commands that a user types.

Each is written as a small folder (:mod:`tests.data.layouts`), inspected, prepared with the section that `inspect` prints, word for word,
and trained on for 20 steps by a tiny base that can spell any text. ``make test-layouts`` runs all of them, ``make test-slow`` one of each
kind of files.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.data.layouts import LAYOUTS, Layout
from vicur.cli import app
from vicur.errors import VicurError

STEPS = 20
COUNT = 8
"""Questions in each split."""
ONE_OF_EACH_KIND = ("finevision", "geometry3k", "mmmu", "openai", "verl", "vqav2", "webdataset")
PARAMETERS = [
    pytest.param(layout, id=layout.name, marks=[pytest.mark.slow] if layout.name in ONE_OF_EACH_KIND else [])
    for layout in LAYOUTS
]
# Added below the printed section. No layout has cues, and opsd needs none; the other settings only save time.
SETTINGS = f"""
methods: [opsd]
cues:
  provider: {{type: annotation}}
  max_skipped_share: 1.0
training:
  steps: {STEPS}
  batch_size: 1
  validate_every: {STEPS}
  validation_examples: 1
  rollout: {{max_new_tokens: 6}}
"""
SMALL_BASE = (
    "sizes={hidden_size: 64, intermediate_size: 128, heads: 2, layers: 2, vision_hidden_size: 32, "
    "vision_intermediate_size: 64, vision_heads: 2}",
    *("min_pixels=1024", "max_pixels=1024", "vocabulary=400", "batch_size=4"),
    *("vision_steps=1", "steps=1", "checked=1"),
)


def run(*arguments: str) -> str:
    """Run a command of vicur, and return what it prints."""
    result = CliRunner().invoke(app, [*arguments])
    if isinstance(result.exception, VicurError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def prepare(layout: Layout, root: Path) -> None:
    """Write a layout below ``root``, and prepare it with the section that `inspect` prints, in ``config.yaml``."""
    layout.write(root / layout.name, COUNT)
    section, _, _ = run("data", "inspect", str(root / layout.name)).partition("\n\n")
    (root / "config.yaml").write_text(f"{section}\n{SETTINGS}")
    # Benchmarks have no training data. Their rows are shared out.
    shared = [] if "distill" in layout.splits else ["--set", "data.splits={distill: 0.6, validation: 0.2, test: 0.2}"]
    run("data", "prepare", "--config", str(root / "config.yaml"), "--output", str(root / "data"), *shared)


@pytest.fixture(scope="module", autouse=True)
def working_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs all commands in one folder: a new MLflow store takes seconds."""
    with contextlib.chdir(tmp_path_factory.mktemp("here")):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base whose tokenizer spells any text, as 'vicur base train --data' makes it."""
    root = tmp_path_factory.mktemp("base")
    prepare(next(layout for layout in LAYOUTS if layout.name == "llava"), root)
    recipe = [part for setting in SMALL_BASE for part in ("--set", setting)]
    run("base", "train", str(root / "model"), "--data", str(root / "data"), *recipe)
    return root / "model"


@pytest.mark.layouts
@pytest.mark.parametrize("layout", PARAMETERS)
def test_a_public_layout_is_inspected_prepared_and_trained_on(layout: Layout, base: Path, tmp_path: Path) -> None:
    prepare(layout, tmp_path)
    config = ("--config", str(tmp_path / "config.yaml"))
    dataset, cues, student = (str(tmp_path / name) for name in ("data", "cues", "student"))
    run("cues", "extract", "--dataset", dataset, "--output", cues, *config)
    run("train", "--method", "opsd", "--dataset", dataset, "--cues", cues, "--base", str(base), "-o", student, *config)
    metrics = [json.loads(line) for line in (tmp_path / "student" / "metrics.jsonl").read_text().splitlines()]
    assert len({line["step"] for line in metrics if "loss" in line or "train/loss" in line}) == STEPS
