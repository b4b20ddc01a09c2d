"""The registration stage with real students and a real MLflow: the embedded store and a server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.registry.conftest import Make, Registration
from tests.registry.factory import (
    BETTER,
    CONFIG,
    GOOD,
    LEAKING,
    TIE,
    WORSE,
    WORSE_THAN_GOOD,
    registration_inputs,
    run_register,
    save_student,
)
from tests.registry.processes import job, run_jobs
from tests.tracking.server import Server, free_port
from vicur.config.registry import GateConfig, RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.data.pin import dvc_hash
from vicur.errors import VicurError
from vicur.registry import promote, rollback
from vicur.registry.versions import get_version, version_with_alias
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import open_tracker


@pytest.fixture(params=["in_store", "on_server"])
def first(request: pytest.FixtureRequest) -> Registration:
    """A first registration, in the embedded store and on a server. Tests must not change it."""
    found: Registration = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def embedded(empty_store: Path) -> TrackingConfig:
    """An empty embedded store."""
    shutil.copytree(empty_store, "mlflow")
    return TrackingConfig()


def config_for(tmp_path: Path) -> RegistryConfig:
    """Return a configuration with a model name that no other test uses, since tests share the server."""
    return RegistryConfig(model=tmp_path.name)


def champion(client: MlflowClient, name: str = "students") -> str:
    return str(client.get_model_version_by_alias(name, "champion").version)


def test_a_student_that_passes_the_gate_becomes_champion_with_its_lineage(students: Make, first: Registration) -> None:
    summary = first.summary
    assert summary.gate.passed
    assert summary.aliases == ["candidate", "champion"]
    assert summary.key_figure == "students version 1 is champion"
    record = json.loads((first.root / "registered/run-1/registration.json").read_text())
    assert record == summary.model_dump(exclude={"key_figure", "metrics"})
    assert record["tracking_uri"] == first.tracking.uri

    version = connect(first.tracking).get_model_version_by_alias("students", "champion")
    assert version.status == "READY"
    assert version.tags["vicur.dataset"] == dvc_hash(students(GOOD)["dataset"]).md5
    assert version.tags["vicur.dataset_source"] == "digit_scenes"
    assert version.tags["vicur.method"] == "vicur"
    assert version.tags["vicur.privilege"] == "cue"
    assert version.tags["vicur.cue_recovery"] == "true"
    assert version.tags["vicur.cue_provider"] == "annotation"
    assert version.tags["vicur.gate"] == "passed"
    assert {"vicur.checkpoint", "vicur.parent", "vicur.cues", "vicur.code", "vicur.package"} < set(version.tags)
    assert "This version **passed** the gate" in version.description


def test_results_are_logged_to_the_pipelines_run_and_to_the_model(students: Make, first: Registration) -> None:
    client = connect(first.tracking)
    experiment = client.get_experiment_by_name(first.tracking.experiment).experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"run-1", "register"}
    parent, stage = runs["run-1"], runs["register"]
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"report.html"}
    assert parent.data.metrics["vicur/test/accuracy"] > parent.data.metrics["base/test/accuracy"]
    assert "| vicur |" in parent.data.tags["mlflow.note.content"]
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
    assert set(answer) == {"answer", "response"}
    assert answer["response"]
    assert second == first
    assert Path(code).parts[-3:] == ("code", "vicur", "__init__.py"), "the model contains its own code"


@pytest.mark.parametrize("where", ["embedded", "server"])
def test_registering_a_student_again_returns_its_version(
    where: str, students: Make, registered: TrackingConfig, request: pytest.FixtureRequest
) -> None:
    tracking = registered
    if where == "server":
        on_server = request.getfixturevalue("on_server").tracking
        # The run of this registration must not appear among those of the first.
        tracking = on_server.model_copy(update={"experiment": "registered again"})
    again = run_register(students(GOOD), tracking=tracking, run_id="run-2")
    assert again.version == "1"
    assert again.gate.passed
    assert "This version is already the champion." in again.gate.reasons
    client = connect(tracking)
    assert len(client.search_model_versions("name = 'students'")) == 1
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert len(client.search_logged_models(experiments)) == 1


def test_training_again_to_the_same_weights_gives_the_same_version(
    students: Make, base_model: Path, data: dict[str, Path], registered: TrackingConfig, tmp_path: Path
) -> None:
    again = save_student(tmp_path / "again", base_model, GOOD, data, mlflow_run_id="0" * 32)
    assert run_register({**students(GOOD), "student": again}, tracking=registered, run_id="run-2").version == "1"


@pytest.mark.usefixtures("embedded")
def test_a_first_student_that_does_not_pass_stays_candidate(students: Make) -> None:
    summary = run_register(students(WORSE))
    assert not summary.gate.passed
    assert summary.aliases == ["candidate"]
    assert summary.gate.reasons[0].startswith("Worse than its base")
    assert version_with_alias(connect(TrackingConfig()), "students", "champion") is None


@pytest.mark.usefixtures("registered")
def test_students_that_do_not_pass_leave_the_champion_and_their_versions_state_the_reasons(students: Make) -> None:
    client = connect(TrackingConfig())
    reasons = [
        (LEAKING, "responses mention a hint"),
        (WORSE, "Worse than its base"),
        (TIE, "Not significantly better than its base"),
        (WORSE_THAN_GOOD, "Worse than the champion, version 1, on the same 240 questions: −"),
    ]
    for number, (reader, reason) in enumerate(reasons, 2):
        summary = run_register(students(reader), run_id=f"run-{number}")
        assert not summary.gate.passed
        assert (summary.version, summary.aliases) == (str(number), ["candidate"])
        assert summary.key_figure == f"students version {number} is candidate: {summary.gate.reasons[0]}"
        version = client.get_model_version("students", summary.version)
        assert version.tags["vicur.gate"] == "not passed"
        assert version.tags["vicur.gate.reasons"].splitlines() == summary.gate.reasons
        assert re.search(f"✗ .*{re.escape(reason)}", version.description), version.description
    assert any(each.startswith("Better than its base") for each in summary.gate.reasons)
    assert champion(client) == "1"
    assert str(client.get_model_version_by_alias("students", "candidate").version) == "5"


@pytest.mark.usefixtures("registered")
def test_a_better_student_becomes_champion_and_neither_reruns_nor_the_gate_undo_a_rollback(students: Make) -> None:
    client = connect(TrackingConfig())
    summary = run_register(students(BETTER), run_id="run-2")
    assert summary.gate.passed, summary.gate.reasons
    assert summary.gate.reasons[1].startswith("Not worse than the champion, version 1, on the same 240 questions: +")
    assert champion(client) == "2"
    assert str(client.get_model_version_by_alias("students", "previous").version) == "1"
    assert client.get_model_version("students", "1").tags["vicur.standing"] == "superseded by version 2"

    # The superseded champion is registered again, with a tolerance that would let it pass.
    config = CONFIG.model_copy(update={"gate": GateConfig(champion_tolerance=0.9)})
    summary = run_register(students(GOOD), config=config, run_id="run-3")
    assert summary.version == "1"
    assert not summary.gate.passed
    assert champion(client) == "2"

    assert rollback(client, "students", reason="it stutters").champion == "1"
    summary = run_register(students(BETTER), run_id="run-4")
    assert not summary.gate.passed
    assert "rolled back to version 1" in summary.gate.reasons[0]
    assert "it stutters" in summary.gate.reasons[0]
    assert champion(client) == "1"
    promote(client, "students", "2", reason="the stutter was in the audio", force=True)
    assert champion(client) == "2"
    assert run_register(students(BETTER), run_id="run-5").gate.passed


# --- a champion that was not evaluated on these questions ---


@pytest.mark.usefixtures("registered")
def test_a_champion_of_another_dataset_is_evaluated_on_the_new_questions_unless_that_is_turned_off(
    other_data: dict[str, Path], base_model: Path, tmp_path: Path
) -> None:
    inputs = registration_inputs(tmp_path / "other", other_data, base_model, BETTER)
    config = CONFIG.model_copy(update={"reevaluate_champion": False})
    summary = run_register(inputs, config=config, run_id="run-2")
    assert not summary.gate.passed
    assert "registry.reevaluate_champion is false" in summary.gate.reasons[0]
    assert champion(connect(TrackingConfig())) == "1"

    summary = run_register(inputs, run_id="run-3")
    # The champion's real model has random weights; its simulated answers on the old dataset are not used.
    assert summary.gate.passed, summary.gate.reasons
    assert "version 1, on the same 210 questions: +" in summary.gate.reasons[1]


@pytest.mark.usefixtures("registered")
def test_a_champion_without_stored_evaluation_is_evaluated_again(students: Make) -> None:
    shutil.rmtree(next(Path("mlflow/artifacts").glob("*/artifacts/evaluation")))
    summary = run_register(students(WORSE_THAN_GOOD), run_id="run-2")
    assert summary.gate.passed, "the champion's real model has random weights, and it is what was evaluated"
    assert champion(connect(TrackingConfig())) == "2"


@pytest.mark.usefixtures("registered")
def test_a_champion_that_is_not_a_student_is_not_replaced(students: Make) -> None:
    client = connect(TrackingConfig())
    foreign = client.create_model_version("students", Path("elsewhere").absolute().as_uri())
    client.set_registered_model_alias("students", "champion", foreign.version)
    summary = run_register(students(BETTER), run_id="run-2")
    assert not summary.gate.passed
    assert summary.gate.reasons[0].startswith("Not compared with the champion, version 2: it cannot be evaluated")
    assert champion(client) == "2"


# --- interrupted and concurrent registrations ---


KILLED_IN = ("log_model_artifacts", "create_model_version", "set_registered_model_alias")


@pytest.fixture(scope="module")
def processes(students: Make, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the project of each killed registration, and ``concurrent``, in which two ran at the same time."""
    root, inputs = tmp_path_factory.mktemp("processes"), students(GOOD)
    for name in (*KILLED_IN, "concurrent"):
        shutil.copytree(empty_store, root / name / "mlflow")
    outcomes = run_jobs(
        *(job(root / method, inputs, killed_in=method) for method in KILLED_IN),
        *(job(root / "concurrent", inputs, run_id) for run_id in ("run-1", "run-2")),
    )
    assert outcomes == [(9, "")] * 3 + [(0, "1")] * 2
    return root


@pytest.mark.parametrize("method", KILLED_IN)
def test_a_killed_registration_leaves_no_partial_version_and_the_next_completes_it(
    method: str, processes: Path, students: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(processes / method)
    client = connect(TrackingConfig())
    versions = client.search_model_versions("name = 'students'")
    assert len(versions) == (1 if method == "set_registered_model_alias" else 0)
    summary = run_register(students(GOOD))
    assert summary.version == "1"
    assert summary.aliases == ["candidate", "champion"]
    experiment = client.get_experiment_by_name("vicur").experiment_id
    models = client.search_logged_models([experiment])
    ready = [model for model in models if str(model.status.value) == "READY"]
    assert len(ready) == 1, "a complete upload is reused"
    assert get_version(client, "students", "1").model_id == ready[0].model_id


def test_concurrent_registrations_of_one_student_create_one_version(
    processes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(processes / "concurrent")
    versions = connect(TrackingConfig()).search_model_versions("name = 'students'")
    assert [str(version.version) for version in versions] == ["1"]


def test_a_failed_upload_removes_its_record(
    students: Make, embedded: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", full)
    with pytest.raises(VicurError, match="No space left"):
        run_register(students(GOOD))
    client = connect(embedded)
    assert client.search_logged_models([client.get_experiment_by_name("vicur").experiment_id]) == []
    assert client.search_model_versions("name = 'students'") == []
    assert not Path("registered/run-1").exists()


# --- inconsistent inputs, and a server that does not respond ---


@pytest.mark.usefixtures("embedded")
def test_a_student_trained_on_other_data_is_refused_before_anything_is_written(
    students: Make, other_data: dict[str, Path]
) -> None:
    for name in ("dataset", "cues"):
        with pytest.raises(VicurError, match=f"is not the {name} that the student was trained with"):
            run_register({**students(GOOD), name: other_data[name]})
    assert connect(TrackingConfig()).search_registered_models() == []


@pytest.mark.usefixtures("embedded")
def test_evaluations_of_other_students_are_refused(students: Make) -> None:
    for name in ("evaluation", "base_evaluation", "comparison"):
        other = students(BETTER) if name != "base_evaluation" else {name: students(GOOD)["evaluation"]}
        with pytest.raises(VicurError, match="was not made from these evaluations of vicur"):
            run_register({**students(GOOD), name: other[name]})


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"method": "vicur"}'])
def test_a_student_with_a_damaged_record_is_refused(students: Make, tmp_path: Path, text: str) -> None:
    shutil.copytree(students(GOOD)["student"], tmp_path / "student")
    (tmp_path / "student/vicur.json").write_text(text)
    with pytest.raises(VicurError, match=r"vicur\.json: is not a training record"):
        run_register({**students(GOOD), "student": tmp_path / "student"})


@pytest.mark.usefixtures("embedded")
def test_a_checkpoint_that_was_never_distilled_is_refused(students: Make, base_model: Path) -> None:
    with pytest.raises(VicurError, match="the folder is not a student"):
        run_register({**students(GOOD), "student": base_model})


def test_without_a_server_the_error_states_the_remedy_and_nothing_is_written(students: Make) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(VicurError, match=r"MLflow does not respond.*Start the server"):
        run_register(students(GOOD), tracking=TrackingConfig(uri=uri))
    assert not Path("registered/run-1").exists()


def test_a_server_that_stops_during_registration_is_reported(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    upload = MlflowClient.log_model_artifacts

    def upload_and_stop(self: MlflowClient, *args: str) -> None:
        upload(self, *args)
        server.stop()

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", upload_and_stop)
    tracking = TrackingConfig(uri=server.uri, experiment=tmp_path.name)
    try:
        with pytest.raises(VicurError, match="MLflow does not respond") as caught:
            run_register(students(GOOD), config=config_for(tmp_path), tracking=tracking)
    finally:
        monkeypatch.undo()
        server.start()
    assert caught.value.retryable
    client = MlflowClient(tracking_uri=server.uri)
    assert client.search_model_versions(f"name = '{tmp_path.name}'") == []


# --- environments ---


def test_credentials_in_the_address_reach_neither_the_summary_nor_the_store(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//ann:hunter2@"))
    tracking = TrackingConfig(experiment=tmp_path.name)
    summary = run_register(students(GOOD), config=config_for(tmp_path), tracking=tracking)
    assert summary.tracking_uri == server.uri
    files = [*Path("registered").rglob("*"), *server.folder.rglob("*")]
    for file in files:
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file


def test_a_kubeflow_step_registers_from_the_nested_run_of_the_platform(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.create_experiment(tmp_path.name)
    pipeline = client.create_run(experiment, run_name="pipeline").info.run_id
    step = client.create_run(experiment, run_name="register", tags={"mlflow.parentRunId": pipeline}).info.run_id
    for name, value in {
        "MLFLOW_TRACKING_URI": server.uri,
        "MLFLOW_RUN_ID": step,
        "MLFLOW_EXPERIMENT_ID": experiment,
    }.items():
        monkeypatch.setenv(name, value)
    summary = run_register(students(GOOD), config=config_for(tmp_path))
    assert client.get_model_version(tmp_path.name, summary.version).run_id == step
    assert "report.html" in {f.path for f in client.list_artifacts(pipeline)}
    assert client.get_run(step).info.status == "RUNNING", "Kubeflow closes it"
    assert len(client.search_runs([experiment])) == 2


def test_the_version_belongs_to_the_training_run_if_the_server_has_it(
    students: Make, embedded: TrackingConfig, base_model: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    with open_tracker(embedded, "run-1", "train vicur") as trained:
        pass
    student = save_student(tmp_path / "student", base_model, GOOD, data, mlflow_run_id=trained.run_id)
    run_register({**students(GOOD), "student": student}, tracking=embedded)
    version = connect(embedded).get_model_version("students", "1")
    assert version.run_id == version.tags["vicur.training_run"] == trained.run_id
    assert f"/runs/{trained.run_id}" in version.description


@pytest.mark.usefixtures("registered")
def test_the_packaged_model_contains_no_path_of_the_machine_that_packaged_it(
    in_store: Registration, tmp_path: Path
) -> None:
    (model,) = Path("mlflow/artifacts").glob("models/*/artifacts")
    texts = [f for f in model.rglob("*") if f.suffix in (".txt", ".yaml", ".json", "") and f.is_file()]
    assert {"MLmodel", "requirements.txt", "conda.yaml"} <= {f.name for f in texts}
    for file in texts:
        text = file.read_text(encoding="utf-8")
        assert str(tmp_path) not in text, file
        assert str(in_store.root) not in text, file
        assert str(Path(__file__).parents[2]) not in text, file
    requirements = (model / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in requirements)
    assert not any("+" in line for line in requirements), "the local label of a build is not on the package index"
    assert {line.partition("==")[0] for line in requirements} >= {"mlflow", "torch", "transformers", "pillow"}
    assert not list(model.glob("code/**/*.safetensors"))
    assert not list(model.glob("code/**/__pycache__"))
