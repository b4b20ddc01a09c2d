"""Registrations of a student that is already registered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.registry.conftest import Make
from tests.registry.factory import CONFIG, GOOD, config_for, run_register, save_student
from vicur.config.prompts import PixelBudget
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.evaluation.metrics import METRICS
from vicur.registry.history import standard_of
from vicur.registry.provenance import PROVENANCE, provenance_of
from vicur.registry.verdict import objection_to
from vicur.registry.versions import get_version
from vicur.tracking.mlflow import connect


@pytest.mark.parametrize("where", ["embedded", "server"])
def test_registering_a_student_again_returns_its_version(
    where: str, students: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config, tracking = CONFIG, TrackingConfig()
    if where == "embedded":
        request.getfixturevalue("registered")
    else:
        # Other tests share the server, and read what its first registration gave.
        config = config_for(tmp_path)
        tracking = TrackingConfig(uri=request.getfixturevalue("server").uri, experiment=f"{tmp_path.name} first")
        run_register(students(GOOD), config=config, tracking=tracking)
        tracking = tracking.model_copy(update={"experiment": f"{tmp_path.name} again"})
    again = run_register(students(GOOD), config=config, tracking=tracking, run_id="run-2")
    assert again.version == "1"
    assert again.gate.passed
    assert "This version is already the champion." in again.gate.reasons
    client = connect(tracking)
    assert len(client.search_model_versions(f"name = '{config.model}'")) == 1
    names = {"vicur", f"{tmp_path.name} first", f"{tmp_path.name} again"}
    experiments = [each.experiment_id for each in client.search_experiments() if each.name in names]
    assert len(client.search_logged_models(experiments)) == 1


@pytest.mark.parametrize("where", ["embedded", "server"])
def test_a_registration_can_be_repeated_in_the_same_run(
    where: str, students: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if where == "embedded":
        tracking = request.getfixturevalue("embedded")
    else:
        tracking = TrackingConfig(uri=request.getfixturevalue("server").uri, experiment=tmp_path.name)
    # The second as a step that was killed at its end, and is retried.
    for _ in range(2):
        assert run_register(students(GOOD), config=config_for(tmp_path), tracking=tracking).version == "1"
    client = connect(tracking)
    [run] = client.search_runs(
        [client.get_experiment_by_name(tracking.experiment).experiment_id], "attributes.run_name = 'run-1'"
    )
    assert len(run.outputs.model_outputs) == 1
    assert len(run.inputs.dataset_inputs) == 1
    figures = client.get_logged_model(run.outputs.model_outputs[0].model_id).metrics
    assert sorted(each.key for each in figures) == ["ood/accuracy", "test/accuracy", "validation/accuracy"]


def test_training_again_to_the_same_weights_gives_the_same_version(
    students: Make, base_model: Path, data: dict[str, Path], registered: TrackingConfig, tmp_path: Path
) -> None:
    again = save_student(tmp_path / "again", base_model, GOOD, data, mlflow_run_id="0" * 32)
    assert run_register({**students(GOOD), "student": again}, tracking=registered, run_id="run-2").version == "1"


SYSTEM = "You are a helpful assistant."


def evaluated(
    inputs: dict[str, Path], folder: Path, changed: dict[str, Any], system: str | None = None
) -> dict[str, Path]:
    """Return the inputs with other settings of the evaluation, and of a student that was trained with ``system``."""
    evaluation = shutil.copytree(inputs["evaluation"], folder / "evaluation")
    metrics = json.loads((evaluation / METRICS).read_text())
    (evaluation / METRICS).write_text(json.dumps({**metrics, **changed}))
    student = shutil.copytree(inputs["student"], folder / "student")
    record = json.loads((student / "vicur.json").read_text())
    if system is not None:
        record["training"]["prompts"] = {"system": system}
    (student / "vicur.json").write_text(json.dumps(record))
    return {**inputs, "evaluation": evaluation, "student": student}


@pytest.mark.parametrize(
    ("changed", "system"),
    [
        ({"prompts": {"pixels": {"evaluation": {"max": 401408}}}}, None),
        ({"prompts": {"system": SYSTEM}}, SYSTEM),
        (
            {
                "decoding": {
                    "temperature": 0.7,
                    "top_p": 0.8,
                    "top_k": 20,
                    "presence_penalty": 1.5,
                    "max_new_tokens": 4096,
                }
            },
            None,
        ),
    ],
    ids=["pixels", "system", "decoding"],
)
def test_a_student_that_answers_with_other_prompts_or_decoding_is_another_version(
    changed: dict[str, Any], system: str | None, students: Make, registered: TrackingConfig, tmp_path: Path
) -> None:
    inputs = evaluated(students(GOOD), tmp_path, changed, system)
    config = CONFIG.model_copy(update={"reevaluate_champion": False})
    for run_id in ("run-2", "run-3"):
        assert run_register(inputs, config=config, tracking=registered, run_id=run_id).version == "2"
    assert run_register(students(GOOD), config=config, tracking=registered, run_id="run-4").version == "1"
    budget = changed.get("prompts", {}).get("pixels", {}).get("evaluation", {})
    version = get_version(connect(registered), "students", "2")
    assert provenance_of(connect(registered), version).pixels == PixelBudget.model_validate(budget)


@pytest.mark.usefixtures("registered")
def test_a_student_that_was_evaluated_with_another_system_message_than_it_was_trained_with_is_refused(
    students: Make, tmp_path: Path
) -> None:
    for number, (changed, system) in enumerate([({"prompts": {"system": SYSTEM}}, None), ({}, SYSTEM)]):
        inputs = evaluated(students(GOOD), tmp_path / str(number), changed, system)
        with pytest.raises(VicurError, match=r"another data\.system_prompt than the student was trained with"):
            run_register(inputs, run_id=f"run-{number + 2}")


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted version", "version that is left"])
def test_a_student_of_an_earlier_release_gets_the_origin_that_its_files_lack(
    deleted: bool, students: Make, registered: TrackingConfig
) -> None:
    client = connect(registered)
    before = provenance_of(client, get_version(client, "students", "1"))
    (file,) = Path("mlflow/artifacts").glob(f"**/{PROVENANCE}")
    file.unlink()
    if deleted:
        client.delete_model_version("students", "1")
    number = run_register(students(GOOD), tracking=registered, run_id="run-2").version
    version = get_version(client, "students", number)
    after = provenance_of(client, version)
    assert after.model_copy(update={"registration_run": before.registration_run}) == before
    assert objection_to(client, version, standard_of(client, "students", number)) == ""
