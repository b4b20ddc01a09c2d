"""The registration stage, with real students and a real MLflow: the embedded store and a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.registry.conftest import Make
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
from tests.tracking.server import Server, free_port
from vicur.config.registry import GateConfig, RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.data.pin import dvc_hash
from vicur.errors import VicurError
from vicur.registry import promote, rollback
from vicur.registry.versions import get_version
from vicur.tracking.mlflow import connect
from vicur.tracking.runs import open_tracker


@pytest.fixture(params=["embedded", "server"])
def tracking(request: pytest.FixtureRequest, tmp_path: Path) -> TrackingConfig:
    """The embedded store and a real server."""
    if request.param == "embedded":
        shutil.copytree(request.getfixturevalue("empty_store"), "mlflow")
        return TrackingConfig()
    return TrackingConfig(uri=request.getfixturevalue("server").uri, experiment=tmp_path.name)


@pytest.fixture
def embedded(empty_store: Path) -> TrackingConfig:
    """The embedded store."""
    shutil.copytree(empty_store, "mlflow")
    return TrackingConfig()


def config_for(tmp_path: Path) -> RegistryConfig:
    """A registered model of the test's own: the server is shared."""
    return RegistryConfig(model=tmp_path.name)


def champion(client: MlflowClient, name: str = "students") -> str:
    return str(client.get_model_version_by_alias(name, "champion").version)


def test_a_student_that_passes_becomes_champion_with_its_lineage(
    students: Make, tracking: TrackingConfig, tmp_path: Path
) -> None:
    inputs = students(GOOD)
    summary = run_register(inputs, config=config_for(tmp_path), tracking=tracking)
    assert summary.gate.passed
    assert summary.aliases == ["candidate", "champion"]
    assert summary.key_figure == f"{tmp_path.name} version 1 is champion"
    record = json.loads(Path("registered/run-1/registration.json").read_text())
    assert record == summary.model_dump(exclude={"key_figure", "metrics"})
    assert record["tracking_uri"] == (tracking.uri or "sqlite:///mlflow/mlflow.db")

    client = connect(tracking)
    version = client.get_model_version_by_alias(tmp_path.name, "champion")
    assert version.status == "READY"
    assert version.tags["vicur.dataset"] == dvc_hash(inputs["dataset"]).md5
    assert version.tags["vicur.dataset_source"] == "digit_scenes"
    assert version.tags["vicur.method"] == "vicur"
    assert version.tags["vicur.privilege"] == "cue"
    assert version.tags["vicur.cue_recovery"] == "true"
    assert version.tags["vicur.cue_provider"] == "annotation"
    assert version.tags["vicur.gate"] == "passed"
    assert {"vicur.checkpoint", "vicur.parent", "vicur.cues", "vicur.code", "vicur.package"} < set(version.tags)
    assert "passed" in version.description
    assert "The gate **passed** it" in version.description


def test_what_people_look_for_stands_on_the_pipelines_run_and_on_the_model(
    students: Make, tracking: TrackingConfig, tmp_path: Path
) -> None:
    inputs = students(GOOD)
    run_register(inputs, config=config_for(tmp_path), tracking=tracking)
    client = connect(tracking)
    experiment = client.get_experiment_by_name(tracking.experiment).experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"run-1", "register"}
    parent, stage = runs["run-1"], runs["register"]
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"report.html"}
    assert parent.data.metrics["vicur/test/accuracy"] > parent.data.metrics["base/test/accuracy"]
    assert "| vicur |" in parent.data.tags["mlflow.note.content"]
    assert [d.dataset.source_type for d in parent.inputs.dataset_inputs] == ["dvc"]
    assert stage.data.metrics["gate_passed"] == 1.0
    model = client.get_logged_model(client.get_model_version(tmp_path.name, "1").source.removeprefix("models:/"))
    assert model.name == "vicur"
    assert str(model.status.value) == "READY"
    assert model.params["learning_rate"] == "0.0003"
    figures = {m.key: (m.value, m.dataset_digest) for m in model.metrics}
    digest = dvc_hash(inputs["dataset"]).md5.removesuffix(".dir")
    assert figures["test/accuracy"] == (parent.data.metrics["vicur/test/accuracy"], digest)


LOAD = """
import sys, mlflow
student = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}@champion")
answers = student.predict([{"question": sys.argv[2], "image": sys.argv[3]}])
print("ANSWER", answers.to_json(orient="records"))
import vicur
print("CODE", vicur.__file__)
"""


def test_the_champion_answers_a_question_about_an_image_file_in_a_new_process(
    students: Make, tracking: TrackingConfig, tmp_path: Path
) -> None:
    inputs = students(GOOD)
    run_register(inputs, config=config_for(tmp_path), tracking=tracking)
    example = read_examples(inputs["dataset"], "test")[0]
    Path("scene.png").write_bytes(example.images[0])
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking.uri or "sqlite:///mlflow/mlflow.db"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path.name, example.question, "scene.png"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("ANSWER", "CODE")))
    (answer,) = json.loads(told["ANSWER"])
    assert set(answer) == {"answer", "response"}
    assert answer["response"]
    assert Path(told["CODE"]).parts[-3:] == ("code", "vicur", "__init__.py"), "the model brings its own code"


def test_the_same_student_again_is_the_same_version(students: Make, tracking: TrackingConfig, tmp_path: Path) -> None:
    config = config_for(tmp_path)
    first = run_register(students(GOOD), config=config, tracking=tracking)
    again = run_register(students(GOOD), config=config, tracking=tracking, run_id="run-2")
    assert again.version == first.version == "1"
    assert again.gate.passed
    assert "It is the champion already." in again.gate.reasons
    client = connect(tracking)
    assert len(client.search_model_versions(f"name = '{tmp_path.name}'")) == 1
    experiment = client.get_experiment_by_name(tracking.experiment).experiment_id
    assert len(client.search_logged_models([experiment])) == 1


def test_a_student_that_was_trained_again_to_the_same_weights_is_the_same_version(
    students: Make, base_model: Path, data: dict[str, Path], embedded: TrackingConfig, tmp_path: Path
) -> None:
    run_register(students(GOOD), tracking=embedded)
    again = save_student(tmp_path / "again", base_model, GOOD, data, mlflow_run_id="0" * 32)
    assert run_register({**students(GOOD), "student": again}, tracking=embedded, run_id="run-2").version == "1"


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (LEAKING, "responses speak of a hint"),
        (WORSE, "Worse than its base"),
        (TIE, "Not surely better than its base"),
    ],
)
def test_a_student_that_does_not_pass_stays_candidate_and_its_version_says_why(
    students: Make, reader, said: str
) -> None:
    summary = run_register(students(reader))
    assert not summary.gate.passed
    assert summary.aliases == ["candidate"]
    assert said in summary.gate.reasons[0]
    assert summary.key_figure == f"students version 1 is candidate: {summary.gate.reasons[0]}"
    version = connect(TrackingConfig()).get_model_version("students", "1")
    assert version.tags["vicur.gate"] == "not passed"
    assert version.tags["vicur.gate.reasons"].splitlines() == summary.gate.reasons
    assert f"✗ {summary.gate.reasons[0]}" in version.description


@pytest.mark.usefixtures("embedded")
def test_a_student_that_does_not_pass_leaves_the_champion_where_it_is(students: Make) -> None:
    run_register(students(GOOD))
    for number, reader in enumerate((LEAKING, WORSE, TIE, WORSE_THAN_GOOD), 2):
        assert run_register(students(reader), run_id=f"run-{number}").version == str(number)
    client = connect(TrackingConfig())
    assert champion(client) == "1"
    assert str(client.get_model_version_by_alias("students", "candidate").version) == "5"


@pytest.mark.usefixtures("embedded")
def test_a_student_worse_than_the_champion_is_told_so_with_figures(students: Make) -> None:
    run_register(students(GOOD))
    summary = run_register(students(WORSE_THAN_GOOD), run_id="run-2")
    assert summary.gate.reasons[0].startswith("Worse than the champion, version 1, on the same 240 questions: −")
    assert summary.gate.reasons[1].startswith("Better than its base")


@pytest.mark.usefixtures("embedded")
def test_a_better_student_takes_over_and_the_former_champion_is_kept_as_previous(students: Make) -> None:
    run_register(students(GOOD))
    summary = run_register(students(BETTER), run_id="run-2")
    assert summary.gate.passed, summary.gate.reasons
    assert summary.gate.reasons[1].startswith("Not worse than the champion, version 1, on the same 240 questions: +")
    client = connect(TrackingConfig())
    assert champion(client) == "2"
    assert str(client.get_model_version_by_alias("students", "previous").version) == "1"
    assert client.get_model_version("students", "1").tags["vicur.standing"] == "superseded by version 2"


@pytest.mark.usefixtures("embedded")
def test_running_a_pipeline_again_does_not_undo_a_rollback_and_a_hand_can(students: Make) -> None:
    run_register(students(GOOD))
    run_register(students(BETTER), run_id="run-2")
    client = connect(TrackingConfig())
    assert rollback(client, "students", reason="it stutters").champion == "1"
    summary = run_register(students(BETTER), run_id="run-3")
    assert not summary.gate.passed
    assert "rolled back to version 1" in summary.gate.reasons[0]
    assert "it stutters" in summary.gate.reasons[0]
    assert champion(client) == "1"
    promote(client, "students", "2", reason="the stutter was the speaker's", force=True)
    assert champion(client) == "2"
    assert run_register(students(BETTER), run_id="run-4").gate.passed


@pytest.mark.usefixtures("embedded")
def test_running_an_old_pipeline_again_does_not_bring_its_student_back(students: Make) -> None:
    run_register(students(GOOD))
    run_register(students(BETTER), run_id="run-2")
    summary = run_register(
        students(GOOD), config=CONFIG.model_copy(update={"gate": GateConfig(champion_tolerance=0.9)}), run_id="run-3"
    )
    assert summary.version == "1"
    assert not summary.gate.passed
    assert champion(connect(TrackingConfig())) == "2"


# --- a champion that did not answer these questions ---


@pytest.mark.usefixtures("embedded")
def test_a_champion_of_another_dataset_is_asked_the_new_questions(
    students: Make, other_data: dict[str, Path], base_model: Path, tmp_path: Path
) -> None:
    run_register(students(GOOD))
    inputs = registration_inputs(tmp_path / "other", other_data, base_model, BETTER)
    summary = run_register(inputs, run_id="run-2")
    # The champion's real model has random weights; its simulated answers of the old dataset are not used.
    assert summary.gate.passed, summary.gate.reasons
    assert "version 1, on the same 210 questions: +" in summary.gate.reasons[1]


@pytest.mark.usefixtures("embedded")
def test_a_champion_that_may_not_be_asked_keeps_its_place(
    students: Make, other_data: dict[str, Path], base_model: Path, tmp_path: Path
) -> None:
    run_register(students(GOOD))
    inputs = registration_inputs(tmp_path / "other", other_data, base_model, BETTER)
    config = CONFIG.model_copy(update={"reevaluate_champion": False})
    summary = run_register(inputs, config=config, run_id="run-2")
    assert not summary.gate.passed
    assert "reevaluate_champion is turned off" in summary.gate.reasons[0]
    assert champion(connect(TrackingConfig())) == "1"


@pytest.mark.usefixtures("embedded")
def test_a_champion_whose_answers_are_lost_is_asked_again(students: Make) -> None:
    run_register(students(GOOD))
    client = connect(TrackingConfig())
    shutil.rmtree(next(Path("mlflow/artifacts").glob("*/artifacts/evaluation")))
    summary = run_register(students(WORSE_THAN_GOOD), run_id="run-2")
    assert summary.gate.passed, "its real model has random weights, and that is what was asked"
    assert champion(client) == "2"


@pytest.mark.usefixtures("embedded")
def test_a_champion_that_is_no_student_is_told_as_that(students: Make) -> None:
    run_register(students(GOOD))
    client = connect(TrackingConfig())
    foreign = client.create_model_version("students", Path("elsewhere").absolute().as_uri())
    client.set_registered_model_alias("students", "champion", foreign.version)
    summary = run_register(students(BETTER), run_id="run-2")
    assert not summary.gate.passed
    assert summary.gate.reasons[0].startswith("Not compared with the champion, version 2: it cannot be asked")
    assert champion(client) == "2"


# --- attempts that die ---

DIE = """
import os, sys, json
from pathlib import Path
from mlflow import MlflowClient
where = sys.argv[1]
real = getattr(MlflowClient, where)
def die(self, *args, **fields):
    if where == "log_model_artifacts":
        # Half of the files arrive.
        folder = Path(args[1])
        self.log_model_artifact(args[0], str(folder / "MLmodel"))
    os._exit(9)
setattr(MlflowClient, where, die)
from tests.registry.factory import run_register
run_register({k: Path(v) for k, v in json.loads(sys.argv[2]).items()})
"""


@pytest.mark.parametrize("where", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"])
def test_an_attempt_that_is_killed_leaves_no_half_version_and_the_next_completes_it(
    where: str, students: Make, embedded: TrackingConfig
) -> None:
    inputs = students(GOOD)
    root = Path(__file__).parents[2]
    paths = json.dumps({name: str(path) for name, path in inputs.items()})
    done = subprocess.run(
        [sys.executable, "-c", DIE, where, paths],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    client = connect(embedded)
    versions = client.search_model_versions("name = 'students'")
    assert len(versions) == (1 if where == "set_registered_model_alias" else 0)
    summary = run_register(inputs)
    assert summary.version == "1"
    assert summary.aliases == ["candidate", "champion"]
    experiment = client.get_experiment_by_name("vicur").experiment_id
    models = client.search_logged_models([experiment])
    ready = [model for model in models if str(model.status.value) == "READY"]
    assert len(ready) == 1, "a whole upload is taken over, not made again"
    assert get_version(client, "students", "1").model_id == ready[0].model_id


def test_an_upload_that_fails_removes_its_record(
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


SIDE_BY_SIDE = """
import sys, json
from pathlib import Path
from tests.registry.factory import run_register
summary = run_register({k: Path(v) for k, v in json.loads(sys.argv[1]).items()}, run_id=sys.argv[2])
print("VERSION", summary.version)
"""


@pytest.mark.usefixtures("embedded")
def test_two_processes_that_register_one_student_make_one_version(students: Make) -> None:
    paths = json.dumps({name: str(path) for name, path in students(GOOD).items()})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SIDE_BY_SIDE, paths, f"run-{n}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in (1, 2)
    ]
    outputs = [worker.communicate(timeout=240) for worker in workers]
    for worker, (out, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors
        assert "VERSION 1" in out
    versions = connect(TrackingConfig()).search_model_versions("name = 'students'")
    assert [str(version.version) for version in versions] == ["1"]


# --- input that does not belong together, and an MLflow that is not there ---


@pytest.mark.usefixtures("embedded")
def test_a_student_of_other_data_is_refused_before_anything_is_written(
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
        with pytest.raises(VicurError, match="does not compare this student"):
            run_register({**students(GOOD), name: other[name]})


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"method": "vicur"}'])
def test_a_student_without_a_whole_record_is_refused(students: Make, tmp_path: Path, text: str) -> None:
    shutil.copytree(students(GOOD)["student"], tmp_path / "student")
    (tmp_path / "student/vicur.json").write_text(text)
    with pytest.raises(VicurError, match=r"vicur\.json: is no record of a training"):
        run_register({**students(GOOD), "student": tmp_path / "student"})


@pytest.mark.usefixtures("embedded")
def test_a_checkpoint_that_was_never_distilled_is_refused(students: Make, base_model: Path) -> None:
    with pytest.raises(VicurError, match="this is no student"):
        run_register({**students(GOOD), "student": base_model})


def test_without_an_mlflow_the_student_is_not_registered_and_the_remedy_told(students: Make) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(VicurError, match=r"MLflow does not respond.*Start the server"):
        run_register(students(GOOD), tracking=TrackingConfig(uri=uri))
    assert not Path("registered/run-1").exists()


def test_a_server_that_dies_on_the_way_is_told_as_that(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    upload = MlflowClient.log_model_artifacts

    def and_gone(self: MlflowClient, *args: str) -> None:
        upload(self, *args)
        server.stop()

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", and_gone)
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


# --- where it runs ---


def test_secrets_of_the_address_reach_neither_the_summary_nor_the_store(
    students: Make, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//ann:hunter2@"))
    tracking = TrackingConfig(experiment=tmp_path.name)
    summary = run_register(students(GOOD), config=config_for(tmp_path), tracking=tracking)
    assert summary.tracking_uri == server.uri
    written = [*Path("registered").rglob("*"), *server.folder.rglob("*")]
    for file in written:
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file


def test_a_step_of_kubeflow_registers_from_the_run_that_was_nested_for_it(
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


def test_the_version_comes_from_the_run_that_trained_the_student_where_the_server_has_it(
    students: Make, embedded: TrackingConfig, base_model: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    with open_tracker(embedded, "run-1", "train vicur") as trained:
        pass
    student = save_student(tmp_path / "student", base_model, GOOD, data, mlflow_run_id=trained.run_id)
    run_register({**students(GOOD), "student": student}, tracking=embedded)
    version = connect(embedded).get_model_version("students", "1")
    assert version.run_id == version.tags["vicur.training_run"] == trained.run_id
    assert f"/runs/{trained.run_id}" in version.description


def test_the_packed_model_names_no_place_of_the_machine_that_packed_it(
    students: Make, embedded: TrackingConfig, tmp_path: Path
) -> None:
    run_register(students(GOOD), tracking=embedded)
    (model,) = Path("mlflow/artifacts").glob("models/*/artifacts")
    texts = [f for f in model.rglob("*") if f.suffix in (".txt", ".yaml", ".json", "") and f.is_file()]
    assert {"MLmodel", "requirements.txt", "conda.yaml"} <= {f.name for f in texts}
    for file in texts:
        text = file.read_text(encoding="utf-8")
        assert str(tmp_path) not in text, file
        assert str(Path(__file__).parents[2]) not in text, file
    needed = (model / "requirements.txt").read_text().splitlines()
    assert all("==" in line for line in needed)
    assert not any("+" in line for line in needed), "a build's local label is not on the index"
    assert {line.partition("==")[0] for line in needed} >= {"mlflow", "torch", "transformers", "pillow"}
    assert not list(model.glob("code/**/*.safetensors"))
    assert not list(model.glob("code/**/__pycache__"))
