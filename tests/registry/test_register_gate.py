"""Registrations that the gate decides on, against the base and the champion."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.registry.conftest import Make
from tests.registry.factory import (
    BETTER,
    CONFIG,
    GOOD,
    LEAKING,
    TIE,
    WORSE,
    WORSE_THAN_GOOD,
    champion,
    registration_inputs,
    run_register,
)
from vicur.config.registry import GateConfig
from vicur.config.tracking import TrackingConfig
from vicur.registry import promote, rollback
from vicur.registry.history import history_of
from vicur.registry.versions import get_version, version_with_alias
from vicur.tracking.mlflow import connect


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
        assert version.tags["vicur.verdict"].splitlines() == ["not passed", *summary.gate.reasons]
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
    superseded = get_version(client, "students", "1")
    assert history_of(client, "students").standing(superseded) == "superseded by version 2"
    assert (
        "version 2 became champion, replacing version 1, by the gate"
        in client.get_model_version("students", "1").description
    )

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
