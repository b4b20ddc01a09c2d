"""A first registration with a real student and a real MLflow: the embedded store and a server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.registry.conftest import Make, Registration
from tests.registry.factory import GOOD
from vicur.data import read_examples
from vicur.data.pin import dvc_hash
from vicur.registry.lineage import checkpoint_sha256
from vicur.registry.provenance import provenance_of
from vicur.registry.versions import get_version
from vicur.tracking.mlflow import connect


@pytest.fixture(params=["in_store", "on_server"])
def first(request: pytest.FixtureRequest) -> Registration:
    """A first registration, in the embedded store and on a server. Tests must not change it."""
    found: Registration = request.getfixturevalue(request.param)
    return found


def test_a_student_that_passes_the_gate_becomes_champion_with_its_lineage(students: Make, first: Registration) -> None:
    summary = first.summary
    assert summary.gate.passed
    assert summary.aliases == ["candidate", "champion"]
    assert summary.key_figure == "students version 1 is champion"
    record = json.loads((first.root / "registered/run-1/registration.json").read_text())
    assert record == summary.model_dump(exclude={"key_figure", "metrics", "page"})
    assert record["tracking_uri"] == first.tracking.uri

    version = connect(first.tracking).get_model_version_by_alias("students", "champion")
    assert version.status == "READY"
    tags = version.tags
    assert set(tags) == {f"vicur.{name}" for name in ("verdict", "accuracy", "base", "dataset", "cues", "method")}
    assert tags["vicur.dataset"] == dvc_hash(students(GOOD)["dataset"]).md5
    assert tags["vicur.method"] == "vicur"
    assert tags["vicur.verdict"].splitlines() == ["passed", *summary.gate.reasons]
    assert re.fullmatch(
        r"\d\d\.\d % on test, \+\d+\.\d \[\+\d+\.\d, \+\d+\.\d\] points vs\. base", tags["vicur.accuracy"]
    )
    origin = provenance_of(connect(first.tracking), get_version(connect(first.tracking), "students", "1"))
    assert (origin.lineage.privilege, origin.lineage.cue_recovery) == ("cue", True)
    assert (origin.data.source["type"], origin.cues.provider) == ("digit_scenes", "annotation")
    assert origin.lineage.checkpoint == checkpoint_sha256(students(GOOD)["student"])
    assert "### The gate passed this version" in version.description
    assert "*" not in version.description.splitlines()[0], "the table of versions shows this line as it is"


def test_results_are_logged_to_the_pipelines_run_and_to_the_model(students: Make, first: Registration) -> None:
    client = connect(first.tracking)
    experiment = client.get_experiment_by_name(first.tracking.experiment).experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"run-1", "register"}
    parent, stage = runs["run-1"], runs["register"]
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"report.html"}
    assert parent.data.metrics["vicur/test/accuracy"] > parent.data.metrics["base/test/accuracy"]
    assert parent.data.metrics["accuracy"] == parent.data.metrics["vicur/test/accuracy"]
    assert [each.model_id for each in parent.outputs.model_outputs] == [
        client.get_model_version("students", "1").source.removeprefix("models:/")
    ]
    assert "| vicur |" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["vicur.model_version"] == stage.data.tags["vicur.model_version"] == "students/1"
    assert [d.dataset.source_type for d in parent.inputs.dataset_inputs] == ["dvc"]
    assert stage.data.metrics["gate_passed"] == 1.0
    model = client.get_logged_model(client.get_model_version("students", "1").source.removeprefix("models:/"))
    assert model.name == "vicur"
    assert str(model.status.value) == "READY"
    assert model.params["learning_rate"] == "0.0003"
    figures = {m.key: (m.value, m.dataset_digest) for m in model.metrics}
    digest = dvc_hash(students(GOOD)["dataset"]).md5.removesuffix(".dir")
    assert figures["test/accuracy"] == (parent.data.metrics["vicur/test/accuracy"], digest)


LOAD = """
import sys, mlflow
for uri in sys.argv[3:]:
    mlflow.set_tracking_uri(uri)
    student = mlflow.pyfunc.load_model("models:/students@champion")
    answers = student.predict([{"question": sys.argv[1], "image": sys.argv[2]}])
    print("ANSWER", answers.to_json(orient="records"))
import vicur
print("CODE", vicur.__file__)
"""


def test_the_champion_answers_questions_about_an_image_file_in_a_new_process(
    data: dict[str, Path], in_store: Registration, on_server: Registration
) -> None:
    example = read_examples(data["dataset"], "test")[0]
    Path("scene.png").write_bytes(example.images[0])
    addresses = [str(on_server.tracking.uri), str(in_store.tracking.uri)]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, example.question, "scene.png", *addresses],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("ANSWER", "CODE"))]
    assert [kind for kind, _ in lines] == ["ANSWER", "ANSWER", "CODE"]
    first, second, code = (text for _, text in lines)
    (answer,) = json.loads(first)
    assert set(answer) == {"answer", "response", "error"}
    assert answer["error"] is None
    assert answer["response"]
    assert second == first
    assert Path(code).parts[-4:] == ("code", "vicur.zip", "vicur", "__init__.py"), "the model contains its own code"
