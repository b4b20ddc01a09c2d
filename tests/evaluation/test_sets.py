"""Named evaluation sets, with a set that exists in the tests only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.evaluation.conftest import context
from tests.evaluation.factory import VICUR, write_student
from tests.evaluation.test_evaluate import FAST
from vicur.config.ablation import AblationConfig
from vicur.config.comparison import ComparisonConfig
from vicur.config.evaluation import SET_CONFIGS, BenchmarkSetConfig, EvaluationConfig, EvaluationSetConfig
from vicur.config.validation import validated
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation import compare, evaluate
from vicur.evaluation.metrics import read_metrics
from vicur.evaluation.predictions import read_predictions
from vicur.evaluation.sets import EVALUATION_SETS


class CountingConfig(EvaluationSetConfig):
    """Settings of the set: how many questions, and the file that they are in."""

    type: Literal["counting"] = "counting"
    path: Path
    questions: int = 3

    def inputs(self) -> dict[str, Path]:
        return {"source": self.path}


class Counting:
    """Reads the set."""

    type = "counting"

    def read(self, config: CountingConfig, inputs: Mapping[str, Path]) -> Sequence[Example]:
        subject = inputs["source"].read_text()
        return [
            Example(
                id=str(n), images=(), question=f"How many {subject}?", answer=str(n), source="counting", split="base"
            )
            for n in range(config.questions)
        ]


class UnreadConfig(EvaluationSetConfig):
    """Settings without a reader."""

    type: Literal["unread"] = "unread"


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """Register the set; return settings for it."""
    monkeypatch.setattr("vicur.config.evaluation.SET_CONFIGS", (CountingConfig, UnreadConfig))
    monkeypatch.setattr("vicur.evaluation.sets.EVALUATION_SETS", (Counting(),))
    (tmp_path / "subject.txt").write_text("apples")
    return {"type": "counting", "path": str(tmp_path / "subject.txt")}


def config_with(*sets: object) -> EvaluationConfig:
    """Return the fast settings with evaluation sets, parsed as a user's settings are."""
    found: EvaluationConfig = validated(EvaluationConfig, {**FAST.model_dump(), "sets": list(sets)}, "test.yaml")
    return found


def test_a_set_goes_through_evaluation_and_report_under_its_name(
    counting: dict[str, object], dataset: Path, cues: Path, base_model: Path, output: Path, tmp_path: Path
) -> None:
    config = config_with({**counting, "name": "orchard"}, {**counting, "questions": 2})
    inputs = {"dataset": dataset, "model": base_model, **config.inputs()}
    for name in ("base", "vicur"):
        (tmp_path / name).mkdir()
        summary = evaluate(config, inputs, tmp_path / name, context(tmp_path))
    assert summary.examples == {"validation": 7, "test": 7, "ood": 7, "orchard": 3, "counting": 2}
    assert summary.metrics["orchard/accuracy"] == read_metrics(tmp_path / "vicur").splits["orchard"].accuracy
    rows = [p for p in read_predictions(tmp_path / "vicur") if p.split == "orchard"]
    assert [(row.example_id, row.question) for row in rows] == [(str(n), "How many apples?") for n in range(3)]

    student = write_student(VICUR, tmp_path / "student")
    evaluations = {"base": tmp_path / "base", "vicur": tmp_path / "vicur", "vicur.student": student}
    compared = compare(
        ComparisonConfig(resamples=1000), {"dataset": dataset, "cues": cues, **evaluations}, output, context(tmp_path)
    )
    assert compared.students["vicur"]["orchard"] == summary.accuracy["orchard"]
    assert any("tie on the orchard questions" in verdict for verdict in compared.verdicts)
    html = (output / "report.html").read_text(encoding="utf-8")
    assert '<b>orchard</b> <span class="soft">3 questions' in html
    assert '<b>counting</b> <span class="soft">2 questions' in html


def test_max_examples_limits_sets_too(
    counting: dict[str, object], dataset: Path, base_model: Path, output: Path, tmp_path: Path
) -> None:
    config = config_with({**counting, "questions": 9})
    summary = evaluate(config, {"dataset": dataset, "model": base_model, **config.inputs()}, output, context(tmp_path))
    assert summary.examples["counting"] == FAST.max_examples == 7


def test_settings_without_sets_keep_their_identity(counting: dict[str, object]) -> None:
    assert "sets" not in EvaluationConfig().identity()
    identity = config_with({**counting, "questions": 2}).identity()
    assert identity["sets"] == [{"type": "counting", "name": "", "path": counting["path"], "questions": 2}]
    assert EvaluationConfig.model_validate(json.loads(json.dumps(identity))) == config_with(
        {**counting, "questions": 2}
    )


@pytest.mark.parametrize("settings", [{"type": "mmstar"}, "mmstar", UnreadConfig()])
def test_a_type_that_is_not_registered_is_refused(settings: object) -> None:
    with pytest.raises(VicurError, match=r"sets.*is not a type of evaluation set \(available: benchmark\)"):
        config_with(settings)


@pytest.mark.usefixtures("counting")
def test_a_type_without_a_reader_is_refused_before_the_model_is_loaded(
    dataset: Path, output: Path, tmp_path: Path
) -> None:
    with pytest.raises(VicurError, match="no reader is registered for evaluation sets of type 'unread'"):
        evaluate(config_with("unread"), {"dataset": dataset, "model": tmp_path}, output, context(tmp_path))


def test_an_empty_set_is_refused(counting: dict[str, object], dataset: Path, output: Path, tmp_path: Path) -> None:
    config = config_with({**counting, "questions": 0})
    with pytest.raises(VicurError, match="counting: the evaluation set has no questions"):
        evaluate(config, {"dataset": dataset, "model": tmp_path, **config.inputs()}, output, context(tmp_path))


@pytest.mark.parametrize("names", [("ood",), ("twice", "twice")])
def test_a_name_that_is_taken_is_refused(counting: dict[str, object], names: tuple[str, ...]) -> None:
    with pytest.raises(VicurError, match=f"the name '{names[0]}' is taken"):
        config_with(*({**counting, "name": name} for name in names))


def test_a_wrong_setting_of_a_set_is_refused_by_its_name(counting: dict[str, object]) -> None:
    with pytest.raises(VicurError, match=r"evaluation\.sets, counting.*question"):
        config_with({**counting, "question": 1})


def test_the_arms_of_an_ablation_share_their_sets(counting: dict[str, object]) -> None:
    arm = {"name": "vicur", "about": "cue", "method": "vicur", "evaluation": {"sets": [counting]}}
    with pytest.raises(VicurError, match="sets differs"):
        validated(AblationConfig, {"arms": [arm]}, "test.yaml")


def test_every_type_has_settings_and_a_reader() -> None:
    # Benchmarks are answered by steps of their own.
    kinds = [kind.model_fields["type"].default for kind in SET_CONFIGS if kind is not BenchmarkSetConfig]
    assert kinds == [each.type for each in EVALUATION_SETS]
