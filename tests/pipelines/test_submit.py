"""``vicur submit`` against a double of the server: uploads, runs and options."""

from __future__ import annotations

from pathlib import Path

import pytest
from vicur_pipelines.submit.packaged import Package, step_names

from tests.pipelines.kfp_server_double import KfpServerDouble, node
from tests.pipelines.small import task_names
from tests.pipelines.submitting import run_of
from vicur.config.run import RunConfig


def test_a_run_is_uploaded_started_and_followed_until_it_succeeds(kfp, submit) -> None:
    kfp.script = [
        ("PENDING", []),
        ("RUNNING", [node("prepare", "RUNNING", 2)]),
        ("SUCCEEDED", [node("prepare", "SUCCEEDED", 2, 40), node("register", "SKIPPED", 50, 0)]),
    ]
    result = submit()
    assert result.code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("vicur-distill sha256-")
    assert lines[0].endswith(": uploaded")
    assert f"{kfp.endpoint}/#/runs/details/run-1" in lines[1]
    assert lines[2:5] == ["prepare: running", "prepare: finished (40 s)", "register: finished (0.0 s): skipped"]
    assert lines[5].startswith("Run run-1 has succeeded: ")
    assert "executor" not in result.output
    assert "driver" not in result.output
    assert run_of(kfp).pipeline_version_reference.pipeline_version_id == "pipeline_version-1"


def test_the_steps_of_a_package_are_in_topological_order(package: Path) -> None:
    names = step_names(Package.read(package).spec)
    assert set(names) == {"preflight", *task_names(RunConfig()), "outcome"}
    for before, after in (
        ("preflight", "prepare"),
        ("prepare", "extract"),
        ("extract", "train"),
        ("train", "evaluate"),
        ("compare", "register"),
    ):
        assert names.index(before) < names.index(after)
    assert names[-1] == "outcome"


def test_a_package_is_uploaded_once_and_another_one_gets_its_own_version(kfp, submit, tmp_path, package) -> None:
    assert "uploaded" in submit("--no-follow").output
    assert "already on the server" in submit("--no-follow").output
    other = tmp_path / "other.yaml"
    other.write_text(package.read_text() + "# more\n")
    assert "uploaded" in submit("--no-follow", "--package", str(other), start=False).output
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs), len(kfp.experiments)) == (1, 2, 3, 1)


def test_a_concurrent_upload_of_the_same_package_is_not_an_error(kfp, submit, monkeypatch: pytest.MonkeyPatch) -> None:
    submit("--no-follow")
    listed = KfpServerDouble.pipeline_service_list_pipeline_versions
    answers = iter([lambda *_, **__: {}, listed])
    monkeypatch.setattr(
        KfpServerDouble, "pipeline_service_list_pipeline_versions", lambda *a, **k: next(answers)(*a, **k)
    )
    kfp.faults = [("upload_pipeline_version", 400, b"Failed to create a pipeline version")]
    assert "already on the server" in submit("--no-follow").output
    assert len(kfp.versions) == 1


def test_a_configuration_is_compiled_on_the_way(kfp, submit) -> None:
    arguments = ("--pipeline", "distill", "--set", "training.steps=7", "--no-follow")
    assert submit(*arguments, start=False).code == 0
    (version,) = kfp.versions.values()
    parameters = version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert parameters["training"]["defaultValue"]["steps"] == 7
    assert "already on the server" in submit(*arguments, start=False).output, "compiling twice gives the same bytes"


def test_the_page_of_a_pipeline_describes_every_field_of_the_form(kfp, submit) -> None:
    """KFP stores the description as text of any length (``LargeText`` in backend/src/apiserver/model/pipeline.go)."""
    assert submit("--pipeline", "cluster", "--no-follow", start=False).code == 0
    (pipeline,) = kfp.pipelines.values()
    (version,) = kfp.versions.values()
    fields = version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert [name for name in fields if f"| `{name}` |" not in pipeline.description] == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "a: 1", "[1]", "{", "\0", "1: 2", "pipelineInfo: x\nroot: {dag: {}}", "pipelineInfo: {name: a}\nroot: 5"),
        "pipelineInfo: {name: a}\nroot: {dag: {}, inputDefinitions: {parameters: {x: 5}}}",
    ],
)
def test_a_file_that_is_not_a_package_is_refused(submit, tmp_path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    result = submit("--package", str(tmp_path / "p.yaml"), start=False)
    assert result.code == 2
    assert "the file is not a compiled pipeline" in result.error


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--package", "p.yaml", "--set", "seed=1"], "--set has no effect on a package"),
        (["--package", "p.yaml", "--pipeline", "ablation"], "--pipeline has no effect on a package"),
        (["--follow", "r", "--package", "p.yaml"], "an existing run needs no package"),
        (["--terminate", "r", "--image", "i"], "an existing run needs no package"),
        (["--terminate", "r", "--follow", "r"], "--follow and --terminate exclude each other"),
        (["--terminate", "", "--follow", "r"], "--follow and --terminate exclude each other"),
        (["--follow", ""], "--follow: the id of the run is empty"),
        (["--terminate", " "], "--terminate: the id of the run is empty"),
        (["--package", "p.yaml", "--experiment", ""], "--experiment: the name of the experiment is empty"),
    ],
)
def test_options_that_would_be_ignored_are_refused(kfp, submit, arguments: list[str], problem: str) -> None:
    result = submit(*arguments, start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert problem in result.error


def test_a_run_is_terminated(kfp, submit) -> None:
    submit("--no-follow")
    kfp.script = [("RUNNING", [node("prepare", "RUNNING", 2)])]
    result = submit("--terminate", "run-1", start=False)
    assert result.code == 0
    assert run_of(kfp).state == "CANCELING"
    assert "its exit step still runs" in result.output


def test_a_run_that_is_terminated_before_its_first_step_has_no_exit_step(kfp, submit) -> None:
    submit("--no-follow")
    kfp.script = [("PENDING", [])]
    result = submit("--terminate", "run-1", start=False)
    assert (result.code, run_of(kfp).state) == (0, "CANCELING")
    assert "None of its steps has started, so it has no exit step either." in result.output


def test_a_run_gets_the_given_name_experiment_and_service_account(kfp, submit) -> None:
    submit("--no-follow", "--run-name", "mine", "--experiment", "trials", "--service-account", "vicur-pipeline")
    run = run_of(kfp)
    assert (run.display_name, run.service_account) == ("mine", "vicur-pipeline")
    assert kfp.experiments[run.experiment_id].display_name == "trials"
