"""Each component gives its stage the right inputs, and the platform the right artifacts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from vicur_components.ablate.component import ablate
from vicur_components.base.component import base
from vicur_components.compare.component import compare
from vicur_components.evaluate.component import evaluate, evaluate_base
from vicur_components.extract.component import extract
from vicur_components.outcome.component import outcome
from vicur_components.preflight.component import preflight
from vicur_components.preflight.sections import preflight as preflight_of_sections
from vicur_components.prepare.component import prepare
from vicur_components.register.component import register
from vicur_components.train.component import train

from tests.components.recorder import Artifacts, Recorder
from vicur.cluster.request import Request
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.steps import preflight_step

STEP: dict[str, Any] = {"config": {"some": "setting"}, "seed": 3}


def test_prepare_reads_no_artifact_and_shows_a_page_about_the_dataset(
    recorder: Recorder, artifact: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    monkeypatch.setattr("vicur.steps.dataset_page.write_dataset_page", lambda *names: pages.append(names))
    dataset, profile = artifact("dataset"), artifact("profile", dsl.HTML)
    prepare.python_func(step=STEP, dataset=dataset, profile=profile)
    assert (recorder.name, recorder.step, recorder.inputs, recorder.output) == ("prepare", STEP, {}, "dataset")
    assert pages == [(dataset, profile)]


def test_base_reads_no_artifact(recorder: Recorder, artifact: Artifacts) -> None:
    base.python_func(step=STEP, model=artifact("model"))
    assert (recorder.name, recorder.step, recorder.inputs, recorder.output) == ("base", STEP, {}, "model")


def test_extract_shows_its_page_of_samples(recorder: Recorder, artifact: Artifacts) -> None:
    samples, metrics = artifact("samples"), artifact("m", dsl.Metrics)
    extract.python_func(step=STEP, dataset=artifact("dataset"), cues=artifact("cues"), samples=samples, metrics=metrics)
    assert (recorder.name, recorder.step, recorder.inputs) == ("extract", STEP, {"dataset": "dataset"})
    assert Path(samples.path).read_text() == "<p>samples.html</p>"


def test_train_reads_dataset_cues_and_base(recorder: Recorder, artifact: Artifacts) -> None:
    inputs = {name: artifact(name) for name in ("dataset", "cues", "base")}
    train.python_func(step=STEP, **inputs, student=artifact("student", dsl.Model))
    assert (recorder.name, recorder.step, recorder.output) == ("train", STEP, "student")
    assert recorder.inputs == {name: name for name in inputs}


@pytest.mark.parametrize("component", [evaluate, evaluate_base])
def test_evaluate_takes_the_base_or_the_student_of_a_cell(
    recorder: Recorder, artifact: Artifacts, component: Any
) -> None:
    inputs, metrics = {name: artifact(name) for name in ("dataset", "model")}, artifact("m", dsl.Metrics)
    component.python_func(step=STEP, **inputs, evaluation=artifact("evaluation"), metrics=metrics)
    assert (recorder.name, recorder.step) == ("evaluate", STEP)
    assert recorder.inputs == {"dataset": "dataset", "model": "model"}
    assert metrics.metadata == {"accuracy/test": 0.5}


def collected(artifact: Artifacts, prefix: str) -> list[Any]:
    """Artifacts of two cells. KFP collects them in any order."""
    return [artifact(f"{prefix}-{subject}", subject=subject) for subject in ("vicur", "opsd")]


def test_compare_names_the_artifacts_of_each_cell(recorder: Recorder, artifact: Artifacts) -> None:
    report = artifact("report", dsl.HTML)
    compare.python_func(
        step=STEP,
        dataset=artifact("dataset"),
        cues=artifact("cues"),
        base=artifact("base"),
        evaluations=collected(artifact, "e"),
        comparison=artifact("comparison"),
        report=report,
        metrics=artifact("m", dsl.Metrics),
    )
    names = {"vicur": "e-vicur", "opsd": "e-opsd"}
    assert recorder.inputs == {**names, "dataset": "dataset", "cues": "cues", "base": "base"}
    assert Path(report.path).read_text() == "<p>report.html</p>"


def test_ablate_names_the_artifacts_of_each_cell(recorder: Recorder, artifact: Artifacts) -> None:
    page = artifact("page", dsl.Markdown)
    ablate.python_func(
        step=STEP,
        base=artifact("base"),
        evaluations=collected(artifact, "e"),
        results=artifact("results"),
        page=page,
        metrics=artifact("m", dsl.Metrics),
    )
    names = {"vicur": "e-vicur", "opsd": "e-opsd"}
    assert recorder.inputs == {**names, "base": "base"}
    assert Path(page.path).read_text() == "<p>results.md</p>"


def test_register_takes_the_chosen_student(recorder: Recorder, artifact: Artifacts) -> None:
    comparison, decision = artifact("comparison"), artifact("decision", dsl.Markdown)
    Path(comparison.path).mkdir()
    Path(comparison.path, "comparison.json").write_text(json.dumps({"choice": {"method": "opsd"}}))
    register.python_func(
        step=STEP,
        dataset=artifact("dataset"),
        cues=artifact("cues"),
        comparison=comparison,
        students=collected(artifact, "s"),
        registration=artifact("registration"),
        decision=decision,
        metrics=artifact("m", dsl.Metrics),
    )
    others = {name: name for name in ("dataset", "cues", "comparison")}
    assert recorder.inputs == {**others, "student": "s-opsd"}
    assert Path(decision.path).read_text() == "gate passed"


def test_the_inputs_of_preflight_are_the_form_the_preset_and_the_code_versions() -> None:
    inputs = preflight.component_spec.inputs
    assert inputs.keys() - {"preset", "code_versions"} == Request.model_fields.keys()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the function behind a preflight component."""
    arguments: dict[str, Any] = {}

    def record(function: Callable[..., None]) -> Callable[..., None]:
        return lambda *args, **named: arguments.update(inspect.signature(function).bind(*args, **named).arguments)

    for name in ("run_preflight_step", "run_sections_step"):
        monkeypatch.setattr(preflight_step, name, record(getattr(preflight_step, name)))
    return arguments


def values_of(component: Any, artifact: Artifacts) -> tuple[dict[str, str], dict[str, str], Any]:
    """Inputs and output files of a component, and its page."""
    inputs = {name: f"value of {name}" for name in component.component_spec.inputs}
    outputs = {name: f"file of {name}" for name in component.component_spec.outputs if name != "checked"}
    return inputs, outputs, artifact("checked")


def test_preflight_gets_the_form_and_the_files_of_its_outputs(called: dict[str, Any], artifact: Artifacts) -> None:
    inputs, outputs, page = values_of(preflight, artifact)
    preflight.python_func(**inputs, **outputs, checked=page)
    assert called["preset"] == inputs.pop("preset")
    assert called["code_versions"] == inputs.pop("code_versions")
    assert called["parameters"] == {**inputs, **outputs}
    assert called["report"] == page.path


def test_preflight_of_sections_gets_them_and_the_files_of_its_outputs(
    called: dict[str, Any], artifact: Artifacts
) -> None:
    inputs, outputs, page = values_of(preflight_of_sections, artifact)
    preflight_of_sections.python_func(**inputs, **outputs, checked=page)
    assert called["code_versions"] == inputs.pop("code_versions")
    assert called["parameters"] == {**inputs, **outputs}
    assert called["report"] == page.path


@pytest.mark.parametrize(
    ("state", "status"), [("SUCCEEDED", "FINISHED"), ("FAILED", "FAILED"), ("CANCELLED", "KILLED"), ("ODD", "FAILED")]
)
def test_the_exit_step_records_how_the_run_ended(
    artifact: Artifacts, monkeypatch: pytest.MonkeyPatch, state: str, status: str
) -> None:
    recorded: list[tuple[TrackingConfig, str, str, dict[str, float]]] = []
    monkeypatch.setenv("VICUR_RUN_ID", "run-7")
    monkeypatch.setattr(
        "vicur.steps.exit_step.finish_pipeline", lambda *args, metrics, **_: recorded.append((*args, metrics))
    )
    record = artifact("record", dsl.Markdown)
    outcome.python_func(status=final(state), tracking={"experiment": "e"}, record=record)
    assert recorded == [(TrackingConfig(experiment="e"), "run-7", status, {})]
    assert "The run ended: " in Path(record.path).read_text()


def test_the_exit_step_writes_its_record_while_tracking_is_down(
    artifact: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise VicurError("MLflow does not answer.", where="http://localhost:1", remedy="Start it.")

    monkeypatch.setattr("vicur.steps.exit_step.finish_pipeline", down)
    record = artifact("record", dsl.Markdown)
    outcome.python_func(status=final("FAILED"), tracking={}, record=record)
    text = Path(record.path).read_text()
    assert "failed" in text
    assert "step x died" in text
    assert "MLflow does not answer" in text


def final(state: str) -> dsl.PipelineTaskFinalStatus:
    failed = state != "SUCCEEDED"
    return dsl.PipelineTaskFinalStatus(
        state=state,
        pipeline_job_resource_name="job",
        pipeline_task_name="run",
        error_code=1 if failed else None,
        error_message="step x died" if failed else None,
    )
