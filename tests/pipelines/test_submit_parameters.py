"""Parameters of ``vicur submit``: their types, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from vicur_pipelines.package import write_package
from vicur_pipelines.submit.parameters import assigned_parameters

from tests.pipelines.kfp_server_double import KfpServerDouble
from tests.pipelines.submitting import run_of


def changed(kfp: KfpServerDouble) -> dict[str, Any]:
    """Return the parameters of the run that differ from the package's defaults."""
    (version,) = kfp.versions.values()
    declared = version.pipeline_spec["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    sent = run_of(kfp).runtime_config.parameters
    assert sent.keys() == declared.keys()
    return {name: value for name, value in sent.items() if value != declared[name]["defaultValue"]}


def test_parameters_have_the_types_that_the_package_declares(kfp, submit) -> None:
    assignments = [
        "seed=3",
        "methods=[opsd, vicur]",
        "checkpoints=0123",
        "data.type=folder",
        "data.path=/d",
        "training={steps: 9}",
    ]
    submit("--no-follow", *[word for each in assignments for word in ("-p", each)])
    assert changed(kfp) == {
        "seed": 3,
        "methods": ["opsd", "vicur"],
        "checkpoints": "0123",
        "data": {"type": "folder", "path": "/d"},
        "training": {"steps": 9},
    }


def test_all_parameters_of_the_package_are_sent(kfp, submit) -> None:
    """KFP's page of a run and its comparison of runs show only the parameters that were sent."""
    submit("--no-follow", "-p", "seed=3")
    assert changed(kfp) == {"seed": 3}
    submit("--pipeline", "cluster", "--no-follow", start=False)
    run = kfp.runs["run-2"]
    assert run.runtime_config.parameters["gpu_count"] == 1
    assert isinstance(run.runtime_config.parameters["gpu_count"], int)


def test_a_single_setting_keeps_the_other_settings_of_the_package(kfp, submit) -> None:
    submit(
        "--pipeline", "distill", "--set", "training.batch_size=5", "-p", "training.steps=9", "--no-follow", start=False
    )
    assert run_of(kfp).runtime_config.parameters["training"] == {"steps": 9, "batch_size": 5}


def test_settings_outside_the_form_are_added_to_its_overrides(kfp, submit) -> None:
    assignments = ["gpu_count=4", "training.steps=9", "registry.gate.margin=1.0e-2", 'overrides={"base.path": tiny}']
    assignments += ["overrides.cluster.look=false", "checkpoints=s3://team/runs"]
    submit("--no-follow", *[word for each in assignments for word in ("-p", each)], start=False)
    assert changed(kfp) == {
        "gpu_count": 4,
        "overrides": {
            "training.steps": 9,
            "registry.gate.margin": 0.01,
            "base.path": "tiny",
            "cluster.look": False,
            "checkpoints": "s3://team/runs",
        },
    }


@pytest.mark.parametrize(
    ("declared", "name"),
    [("data_splits", "benchmarks"), ("data_splits", "splits"), ("splits", "data_splits"), ("benchmarks", "splits")],
)
def test_a_field_is_accepted_by_any_of_its_names_whatever_the_age_of_the_package(
    kfp, submit, tmp_path: Path, declared: str, name: str
) -> None:
    write_package(tmp_path / "p.yaml", None, None, versioned=False, pipeline="cluster")
    text = (tmp_path / "p.yaml").read_text()
    (tmp_path / "p.yaml").write_text(text.replace("data_splits:\n", f"{declared}:\n"))
    submit("--package", str(tmp_path / "p.yaml"), "-p", f"{name}=[test]", "--no-follow", start=False)
    assert changed(kfp) == {declared: ["test"]}


@pytest.mark.parametrize(
    ("assignment", "problem", "remedy"),
    [
        ("sead=1", "no parameter 'sead'", "Did you mean 'seed'?"),
        ("nothing=1", "no parameter 'nothing'", "It has: base, "),
        ("seed=one", "'one' is not a whole number", "Give a whole number"),
        ("methods=vicur", "'vicur' is not a list", "[a, b]"),
        ("training=[1]", "is not a mapping", "{name: value}"),
        ("seed.x=1", "seed is a single value and has no settings", "Write seed=value"),
        ("seed", "is not a parameter", "Write name=value"),
        ("training={", "is not a mapping", "{name: value}"),
        ("seed=.nan", "is not a whole number", "Give a whole number"),
        ("training={steps: .nan}", "is not a mapping", "{name: value}"),
        ("data=digit_scene", "is not a mapping", "{name: value}"),
        ("methods=!!int ''", "is not a list", "[a, b]"),
        ("base={path: 'https://ann:hush@host/model'}", "the parameters of a run are stored and shown", "***@host"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_sent(
    kfp, submit, assignment: str, problem: str, remedy: str
) -> None:
    result = submit("-p", assignment)
    assert result.code == 2
    assert problem in result.error
    assert remedy in result.error
    assert kfp.requests == []


def test_a_bare_name_selects_the_section_of_that_type() -> None:
    declared = {"data": {"parameterType": "STRUCT", "defaultValue": {"type": "folder", "path": "x"}}}
    assert assigned_parameters(["data=digit_scenes"], declared) == {"data": {"type": "digit_scenes"}}
    assert assigned_parameters(["data=folder", "data.path=y"], declared) == {"data": {"type": "folder", "path": "y"}}


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("trainign.steps=9", "no parameter 'trainign'"),
        ("training={steps: 9}", "no parameter 'training'"),
        ("training.steps={", "is not YAML"),
        ("overrides=[1]", "is not a mapping"),
    ],
)
def test_a_wrong_setting_outside_the_form_is_refused_before_anything_is_sent(
    kfp, submit, assignment: str, problem: str
) -> None:
    result = submit("-p", assignment, start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert problem in result.error


def test_a_missing_parameter_without_a_default_is_refused(submit, kfp, tmp_path, package) -> None:
    documents = list(yaml.safe_load_all(package.read_text()))
    documents[0]["root"]["inputDefinitions"]["parameters"]["seed"] = {"parameterType": "NUMBER_INTEGER"}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump_all(documents))
    result = submit("--package", str(tmp_path / "p.yaml"), start=False)
    assert (result.code, kfp.requests) == (2, [])
    assert "requires seed, which has no default. Give --param seed=" in " ".join(result.error.split())
