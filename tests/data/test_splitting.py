"""Splits: mapped from the source's names, or shared out by group with the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.data.formats.reading import splits, write
from vicur.config.data import SPLITS, FolderConfig
from vicur.data import splitting
from vicur.data.splitting import NO_SPLIT, file_split, require_splits
from vicur.errors import VicurError

GROUPS = [f"image-{n // 3}" for n in range(3000)]


def assigned(
    named: Sequence[str | None], groups: Sequence[str], settings: FolderConfig, seed: int
) -> tuple[list[str | None], bool]:
    names = list(dict.fromkeys(groups))
    codes = np.array([NO_SPLIT if split is None else SPLITS.index(split) for split in named], dtype=np.int8)
    units = np.array([names.index(group) for group in groups])
    found, depends_on_seed = splitting.assigned(codes, units, names, settings, seed)
    return [None if code == NO_SPLIT else SPLITS[code] for code in found], depends_on_seed


def config(**settings: Any) -> FolderConfig:
    return FolderConfig(path=Path("x"), **settings)


def test_rows_without_splits_are_shared_out_by_group() -> None:
    shared, depends_on_seed = assigned([None] * 3000, GROUPS, config(), 0)
    counts = Counter(shared)
    assert depends_on_seed
    # 1,000 groups: a share of 0.1 has a standard deviation of 0.0095.
    assert 0.07 < counts["validation"] / 3000 < 0.13
    assert 0.07 < counts["test"] / 3000 < 0.13
    assert counts["distill"] + counts["validation"] + counts["test"] == 3000
    assert all(
        len({split for split, group in zip(shared, GROUPS, strict=True) if group == each}) == 1
        for each in GROUPS[::300]
    )
    assert assigned([None] * 3000, GROUPS, config(), 0)[0] == shared
    assert assigned([None] * 3000, GROUPS, config(), 1)[0] != shared


def test_more_rows_do_not_move_the_others() -> None:
    few, _ = assigned([None] * 1500, GROUPS[:1500], config(), 0)
    many, _ = assigned([None] * 3000, GROUPS, config(), 0)
    assert many[:1500] == few


def test_each_share_has_a_group_if_there_are_enough() -> None:
    for size in range(3, 12):
        shared, _ = assigned([None] * size, [str(n) for n in range(size)], config(), 0)
        assert set(shared) == {"distill", "validation", "test"}


def test_a_missing_validation_split_is_shared_out_of_distill() -> None:
    named = ["distill"] * 1500 + ["test"] * 1500
    shared, depends_on_seed = assigned(named, GROUPS, config(), 0)
    assert depends_on_seed
    assert shared[1500:] == ["test"] * 1500
    assert 0.05 < Counter(shared[:1500])["validation"] / 1500 < 0.15
    assert assigned(named, GROUPS, config(required_splits=("distill", "test")), 0) == (named, False)


def test_configured_shares_apply_to_all_rows(tmp_path: Path) -> None:
    write(tmp_path, {"train.jsonl": [{"question": f"{n}?", "answer": n} for n in range(4)]})
    shares = {"distill": 0.5, "test": 0.5}
    assert splits(tmp_path, splits=shares) == [None] * 4
    assert Counter(assigned([None] * 3000, GROUPS, config(splits=shares), 0)[0]).keys() == {"distill", "test"}


def test_names_are_mapped_left_out_and_divided(tmp_path: Path) -> None:
    row = {"question": "What?", "answer": 1}
    write(
        tmp_path,
        {
            "easy.jsonl": [row],
            "hard/a.jsonl": [row, {**row, "split": "junk"}],
            "train.jsonl": [{**row, "group": str(n)} for n in range(200)],
        },
    )
    mapping = {"easy": "validation", "hard": "test", "junk": None, "train": {"distill": 0.5, "ood": 0.5}}
    found = splits(tmp_path, splits=mapping)
    assert found[:2] == ["validation", "test"]
    assert 60 < found.count("distill") < 140
    assert found.count("distill") + found.count("ood") == 200


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("train.jsonl", "train"),
        ("data/train-00000-of-00010.parquet", "train"),
        ("geometry_train_v2.json", "train"),
        ("val/a/b.csv", "val"),
        ("annotations/instances_val2014.json", "val"),
        ("testmini.json", "testmini"),
        ("test/train_like.json", "train"),
        ("base/a.jsonl", "base"),
        ("database.jsonl", None),
        ("base_questions.jsonl", None),
        ("train_and_test.jsonl", None),
        ("questions.csv", None),
    ],
)
def test_a_files_name_says_its_split(name: str, label: str | None) -> None:
    assert file_split(name, {}) == label


def test_a_split_that_later_stages_need_is_demanded() -> None:
    require_splits({"distill": 1, "validation": 1, "test": 1}, config().required_splits, "x")
    with pytest.raises(
        VicurError, match="no examples in the splits distill, validation, which later stages need"
    ) as caught:
        require_splits({"test": 5}, config().required_splits, "x")
    assert "data.splits={distill: 0.8, validation: 0.1, test: 0.1}" in caught.value.remedy
    assert "[test] for an evaluation" in caught.value.remedy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": {"distill": 0.8, "test": 0.1}}, "add up to 0.9, not to 1"),
        ({"splits": {"distill": 0.8, "train": "distill"}}, "mixes shares"),
        ({"splits": {"train": 1.0}}, "shares out to 'train'"),
        ({"splits": {"train": {"distill": 0.5}}}, "of 'train' that add up to 0.5"),
        ({"splits": {"train": "train"}}, "splits"),
        ({"fields": {"qestion": "q"}}, "fields"),
        ({"fields": {"question": " "}}, "contains an empty name"),
        ({"format": "xml"}, "format"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**settings)
