"""Each step hands its stage the right inputs, and the platform the right artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from vicur_components.ablate.component import ablate
from vicur_components.base.component import base
from vicur_components.compare.component import compare
from vicur_components.evaluate.component import evaluate
from vicur_components.extract.component import extract
from vicur_components.outcome.component import outcome
from vicur_components.prepare.component import prepare
from vicur_components.register.component import register
from vicur_components.train.component import train

from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.stage.runner import Summary

COMMON: dict[str, Any] = {"config": {"some": "setting"}, "seed": 3, "tracking": {"experiment": "e"}, "code": "abc"}


class Recorder:
    """Stands where ``run_step`` does, and writes what stages write."""

    def __init__(self) -> None:
        self.call: dict[str, Any] = {}

    def __call__(self, name: str, config: dict[str, Any], inputs: dict[str, str], output: str, **rest: Any) -> Summary:
        self.call = {"name": name, "config": config, "inputs": inputs, **rest}
        Path(output).mkdir()
        for page in ("samples.html", "report.html", "results.md"):
            (Path(output) / page).write_text(f"<p>{page}</p>")
        return Summary(key_figure="gate passed", metrics={"accuracy/test": 0.5})


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr("vicur.steps.stage_step.run_step", recorder)
    return recorder


@pytest.fixture
def place(tmp_path: Path) -> Any:
    def artifact(name: str, kind: type[dsl.Artifact] = dsl.Artifact, **metadata: str) -> Any:
        return kind(name=name, uri=str(tmp_path / name), metadata=metadata)

    return artifact


def test_prepare(recorder: Recorder, place: Any) -> None:
    metrics = place("metrics", dsl.Metrics)
    prepare.python_func(**COMMON, dataset=place("dataset"), metrics=metrics)
    assert recorder.call == {"name": "prepare", "inputs": {}, **COMMON}
    assert metrics.metadata == {"accuracy/test": 0.5}


def test_base(recorder: Recorder, place: Any) -> None:
    base.python_func(**COMMON, model=place("model"), metrics=place("metrics", dsl.Metrics))
    assert recorder.call == {"name": "base", "inputs": {}, **COMMON}


def test_extract_shows_its_page_and_says_where_cues_are_kept(recorder: Recorder, place: Any) -> None:
    samples, dataset, metrics = place("samples"), place("dataset"), place("m", dsl.Metrics)
    given = {**COMMON, "checkpoints": "s3://bucket/kept"}
    extract.python_func(**given, dataset=dataset, cues=place("cues"), samples=samples, metrics=metrics)
    assert recorder.call == {"name": "extract", "inputs": {"dataset": dataset.path}, **given}
    assert Path(samples.path).read_text() == "<p>samples.html</p>"


def test_train_adds_its_method_to_the_shared_settings(recorder: Recorder, place: Any) -> None:
    inputs = {name: place(name) for name in ("dataset", "cues", "base")}
    student = place("student", dsl.Model)
    train.python_func(
        **COMMON,
        **inputs,
        method="vicur",
        checkpoints="s3://bucket/runs",
        cluster={"nodes": 2},
        student=student,
        metrics=place("m", dsl.Metrics),
    )
    assert recorder.call == {
        **COMMON,
        "name": "train",
        "inputs": {name: artifact.path for name, artifact in inputs.items()},
        "config": {"some": "setting", "method": "vicur"},
        "subject": "vicur",
        "checkpoints": "s3://bucket/runs",
        "cluster": {"nodes": 2},
    }
    assert student.metadata == {"subject": "vicur"}


def test_train_may_call_its_student_otherwise(recorder: Recorder, place: Any) -> None:
    student = place("student", dsl.Model)
    inputs = {name: place(name) for name in ("dataset", "cues", "base")}
    named = {"method": "vicur", "subject": "arm.3", "checkpoints": ""}
    train.python_func(**COMMON, **inputs, **named, student=student, metrics=place("m", dsl.Metrics))
    assert (recorder.call["subject"], recorder.call["config"]["method"]) == ("arm.3", "vicur")
    assert student.metadata == {"subject": "arm.3"}


def test_ablate_names_each_cell_and_each_student(recorder: Recorder, place: Any, tmp_path: Path) -> None:
    page = place("page", dsl.Markdown)
    ablate.python_func(
        **COMMON,
        base=place("base"),
        evaluations=[place("e-a", subject="a.0"), place("e-b", subject="b.0")],
        students=[place("s-a", dsl.Model, subject="a.0"), place("s-b", dsl.Model, subject="a.0")],
        results=place("results"),
        page=page,
        metrics=place("m", dsl.Metrics),
    )
    names = {"base": "base", "a.0": "e-a", "b.0": "e-b", "a.0.student": "s-b"}
    assert recorder.call["inputs"] == {name: str(tmp_path / file) for name, file in names.items()}
    assert Path(page.path).read_text() == "<p>results.md</p>"


def test_evaluate_says_whom(recorder: Recorder, place: Any) -> None:
    evaluation, model, dataset = place("evaluation"), place("model"), place("dataset")
    evaluate.python_func(
        **COMMON,
        dataset=dataset,
        model=model,
        subject="base",
        evaluation=evaluation,
        metrics=place("m", dsl.Metrics),
    )
    inputs = {"dataset": dataset.path, "model": model.path}
    assert recorder.call == {"name": "evaluate", "inputs": inputs, "subject": "base", **COMMON}
    assert evaluation.metadata == {"subject": "base"}


def students(place: Any) -> dict[str, Any]:
    """Lists in different orders: what belongs together is told by the artifacts, not by their place."""
    return {
        "evaluations": [place("e-vicur", subject="vicur"), place("e-opsd", subject="opsd")],
        "students": [place("s-opsd", subject="opsd"), place("s-vicur", subject="vicur")],
    }


def test_compare_names_each_student(recorder: Recorder, place: Any, tmp_path: Path) -> None:
    report = place("report", dsl.HTML)
    compare.python_func(
        **COMMON,
        dataset=place("dataset"),
        cues=place("cues"),
        base=place("base"),
        **students(place),
        comparison=place("comparison"),
        report=report,
        metrics=place("m", dsl.Metrics),
    )
    names = {"vicur": "e-vicur", "opsd": "e-opsd", "vicur.student": "s-vicur", "opsd.student": "s-opsd"}
    names |= {name: name for name in ("dataset", "cues", "base")}
    assert recorder.call["inputs"] == {name: str(tmp_path / file) for name, file in names.items()}
    assert Path(report.path).read_text() == "<p>report.html</p>"


def test_register_takes_the_chosen_student(recorder: Recorder, place: Any, tmp_path: Path) -> None:
    comparison, decision = place("comparison"), place("decision", dsl.Markdown)
    Path(comparison.path).mkdir()
    Path(comparison.path, "comparison.json").write_text(json.dumps({"choice": {"method": "opsd"}}))
    register.python_func(
        **COMMON,
        dataset=place("dataset"),
        cues=place("cues"),
        base_evaluation=place("base_evaluation"),
        comparison=comparison,
        **students(place),
        registration=place("registration"),
        decision=decision,
        metrics=place("m", dsl.Metrics),
    )
    names = {"student": "s-opsd", "evaluation": "e-opsd"}
    names |= {name: name for name in ("dataset", "cues", "base_evaluation", "comparison")}
    assert recorder.call["inputs"] == {name: str(tmp_path / file) for name, file in names.items()}
    assert Path(decision.path).read_text() == "gate passed"


@pytest.mark.parametrize(
    ("state", "status"), [("SUCCEEDED", "FINISHED"), ("FAILED", "FAILED"), ("CANCELLED", "KILLED"), ("ODD", "FAILED")]
)
def test_the_exit_step_records_how_the_run_ended(
    place: Any, monkeypatch: pytest.MonkeyPatch, state: str, status: str
) -> None:
    told: list[tuple[TrackingConfig, str, str, dict[str, float]]] = []
    monkeypatch.setenv("VICUR_RUN_ID", "run-7")
    monkeypatch.setattr("vicur.steps.exit_step.finish_pipeline", lambda *args, metrics: told.append((*args, metrics)))
    record = place("record", dsl.Markdown)
    outcome.python_func(status=final(state), tracking={"experiment": "e"}, record=record)
    assert told == [(TrackingConfig(experiment="e"), "run-7", status, {})]
    assert state.lower() in Path(record.path).read_text()


def test_the_exit_step_records_the_outcome_also_when_tracking_is_down(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise VicurError("MLflow does not answer.", where="http://localhost:1", remedy="Start it.")

    monkeypatch.setattr("vicur.steps.exit_step.finish_pipeline", down)
    record = place("record", dsl.Markdown)
    outcome.python_func(status=final("FAILED"), tracking={}, record=record)
    text = Path(record.path).read_text()
    assert "failed" in text
    assert "step x died" in text
    assert "MLflow does not answer" in text


def final(state: str) -> dsl.PipelineTaskFinalStatus:
    return dsl.PipelineTaskFinalStatus(
        state=state,
        pipeline_job_resource_name="job",
        pipeline_task_name="distillation",
        error_code=None if state == "SUCCEEDED" else 1,
        error_message=None if state == "SUCCEEDED" else "step x died",
    )
