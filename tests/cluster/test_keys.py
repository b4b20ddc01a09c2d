"""Keys for the platform's cache change with everything that a step's result depends on, and with nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vicur.cluster.keys import KEYS, step_keys
from vicur.config.run import RunConfig

CODES: Mapping[str, str] = defaultdict(lambda: "code")


def keys(codes: Mapping[str, str] = CODES, **changed: Any) -> dict[str, str]:
    return step_keys(RunConfig.model_validate({"methods": ["vicur"], **changed}), codes)


def changed_by(**what: Any) -> set[str]:
    codes = {
        **dict.fromkeys(("prepare", "extract", "base", "evaluate", "train", "compare"), "code"),
        **what.pop("codes", {}),
    }
    before, after = keys(), keys(codes, **what)
    return {name for name in KEYS if before[name] != after[name]}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ({"cues": {"provider": {"type": "annotation"}}}, {"cues", "student"}),
        ({"training": {"steps": 7}}, {"student"}),
        ({"evaluation": {"splits": ["test"]}}, {"baseline", "student"}),
        ({"seed": 1}, {"dataset", "cues", "base", "baseline", "student"}),
        ({"data": {"type": "digit_scenes", "test": {"digits_per_class": 4, "scenes": 4}}}, set(KEYS) - {"base"}),
        ({"codes": {"extract": "new"}}, {"cues", "student"}),
        ({"codes": {"train": "new"}}, {"student"}),
        ({"registry": {"model": "other"}}, set()),
        ({"cluster": {"gpu_count": 8}}, set()),
        ({"training": {"micro_batch_size": 1}}, set()),
    ],
)
def test_a_change_reaches_what_is_made_of_it(what: dict[str, Any], names: set[str]) -> None:
    assert changed_by(**what) == names


def test_other_weights_under_the_same_path_are_another_base(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"first")
    before = keys(base={"path": str(tmp_path)})
    assert keys(base={"path": str(tmp_path)}) == before
    (tmp_path / "model.safetensors").write_bytes(b"second")
    after = keys(base={"path": str(tmp_path)})
    assert {name for name in KEYS if before[name] != after[name]} == {"base", "baseline", "student"}


def test_other_weights_of_the_teacher_are_another_student(tmp_path: Path) -> None:
    def of(teacher: Path) -> dict[str, str]:
        return keys(methods=["opd"], training={"teacher": {"type": "checkpoint", "path": str(teacher)}})

    (tmp_path / "model.safetensors").write_bytes(b"first")
    before = of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"second")
    assert {name for name in KEYS if before[name] != of(tmp_path)[name]} == {"student"}
