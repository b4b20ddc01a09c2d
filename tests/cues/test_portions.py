"""Cues that are made in portions are those of a single process."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.cues.test_extract import dataset_of
from vicur.config.cues import CuesConfig
from vicur.config.portions import CuePlanConfig, CuePortionConfig
from vicur.cues import ExtractSummary, extract
from vicur.cues.portions import extract_portion, plan_portions
from vicur.data import Example
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.stage.portions import PORTIONS, RECORD, portion_inputs
from vicur.stage.runner import Context
from vicur.storage.folders import tree_sha256
from vicur.tracking.tracker import Tracker

SETTINGS: dict[str, Any] = {"max_ungrounded_share": 1.0, "max_leak_share": 1.0, "max_skipped_share": 1.0}
ANNOTATION: dict[str, Any] = {**SETTINGS, "provider": {"type": "annotation"}}


@pytest.fixture(scope="module")
def dataset(scenes: dict[str, list[Example]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some examples of all splits, of which a few have no cue of their own."""
    examples = [
        one.model_copy(update={"cue": None}) if number % 7 == 3 else one
        for split, pool in scenes.items()
        for number, one in enumerate(pool[: 90 if split == "distill" else 40])
    ]
    return dataset_of(tmp_path_factory.mktemp("data") / "data", examples)


def context(folder: Path, seed: int = 0) -> Context:
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    return Context("run", seed, Tracker(), Events("extract", None), work)


def planned(dataset: Path, settings: dict[str, Any], count: int, folder: Path) -> list[CuePortionConfig]:
    config = CuePlanConfig(cues=CuesConfig.model_validate(settings), count=count)
    plan_portions(config, {"dataset": dataset}, folder, context(folder))
    return [CuePortionConfig.model_validate(each) for each in json.loads((folder / PORTIONS).read_text())]


def made(dataset: Path, config: CuePortionConfig, folder: Path, seed: int = 0) -> Path:
    output = folder / f"from-{config.first}"
    output.mkdir()
    extract_portion(config, {"dataset": dataset}, output, context(folder, seed))
    return output


def portions_of(dataset: Path, settings: dict[str, Any], count: int, folder: Path) -> list[Path]:
    return [made(dataset, each, folder) for each in planned(dataset, settings, count, folder)]


def merged(dataset: Path, settings: dict[str, Any], portions: list[Path], folder: Path) -> tuple[ExtractSummary, Path]:
    output = folder / "cues"
    output.mkdir(parents=True)
    shuffled = random.Random(1).sample(portions, len(portions))  # noqa: S311
    inputs = {"dataset": dataset, **portion_inputs(shuffled)}
    return extract(CuesConfig.model_validate(settings), inputs, output, context(folder)), output


@pytest.mark.parametrize(
    ("settings", "count"), [(SETTINGS, 2), (ANNOTATION, 1), (ANNOTATION, 2), (ANNOTATION, 5)], ids=str
)
def test_portions_give_the_cues_audit_page_and_summary_of_one_process(
    dataset: Path, tmp_path: Path, settings: dict[str, Any], count: int
) -> None:
    expected, single = merged(dataset, settings, [], tmp_path / "single")
    portions = portions_of(dataset, settings, count, tmp_path)
    assert len(portions) == count
    summary, output = merged(dataset, settings, portions, tmp_path)
    assert summary == expected
    assert tree_sha256(output) == tree_sha256(single)


def test_a_limit_is_checked_over_all_portions(dataset: Path, tmp_path: Path) -> None:
    errors = []
    # Portions do not depend on limits, so another limit finds them again.
    portions = portions_of(dataset, ANNOTATION, 3, tmp_path)
    for each in ([], portions):
        with pytest.raises(VicurError, match=r"of the examples have no cue .*max_skipped_share allows 1.0 %") as caught:
            merged(dataset, {**ANNOTATION, "max_skipped_share": 0.01}, each, tmp_path / f"{len(each)}")
        errors.append(caught.value.problem)
    assert errors[0] == errors[1]


def test_a_merge_refuses_other_datasets_settings_and_damaged_portions(
    dataset: Path, scenes: dict[str, list[Example]], tmp_path: Path
) -> None:
    one, two = portions_of(dataset, ANNOTATION, 2, tmp_path)
    with pytest.raises(VicurError, match=r"the portion from number .* on is missing"):
        merged(dataset, ANNOTATION, [one], tmp_path / "a")
    with pytest.raises(VicurError, match="with other settings, with another seed or from another input"):
        merged(dataset, SETTINGS, [one, two], tmp_path / "b")
    other = dataset_of(tmp_path / "other", scenes["distill"][:10])
    with pytest.raises(VicurError, match="with other settings, with another seed or from another input"):
        merged(other, ANNOTATION, [one, two], tmp_path / "c")
    lines = (two / "rows.jsonl").read_text().splitlines()
    for damage in (lines[:-1], [*lines[:-1], "{}"], [*lines[:-1], lines[-1][:20]]):
        (two / "rows.jsonl").write_text("".join(f"{line}\n" for line in damage))
        with pytest.raises(VicurError, match="Make this portion again"):
            merged(dataset, ANNOTATION, [one, two], tmp_path / f"d{len(damage[-1])}")
    record = json.loads((one / RECORD).read_text())
    (one / RECORD).write_text(json.dumps({**record, "stage": "prepare"}))
    with pytest.raises(VicurError, match="is a portion of prepare, not of extract"):
        merged(dataset, ANNOTATION, [one, two], tmp_path / "e")


def test_portions_by_different_cue_providers_are_not_mixed(dataset: Path, tmp_path: Path) -> None:
    one, two = portions_of(dataset, ANNOTATION, 2, tmp_path)
    record = json.loads((two / RECORD).read_text())
    (two / RECORD).write_text(json.dumps({**record, "fingerprint": "another"}))
    with pytest.raises(VicurError, match="was not the same in all portions"):
        merged(dataset, ANNOTATION, [one, two], tmp_path / "a")
