"""Rollouts by vLLM inside a training: one distribution, weights that arrive, and a training that ends where transformers' does."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.conftest import base, curves, inputs, session  # noqa: F401 (fixtures)
from tests.training.train_once import SETTINGS
from tests.vllm import training
from tests.vllm.apart import apart
from tests.vllm.cases import Case, make_student
from vicur.config.sampling import Sampling
from vicur.modeling import save_model, without_cue_recovery

pytestmark = pytest.mark.vllm

SAMPLINGS = [
    Sampling(max_new_tokens=12),
    Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, max_new_tokens=12),
    Sampling(temperature=1.5, top_p=0.9, max_new_tokens=12),
]


def backbone_of(case: Case, folder: Path) -> Case:
    """The same without cue recovery."""
    backbone = without_cue_recovery(case.student)
    save_model(backbone, folder, chat_folder=case.folder)
    return Case(folder, backbone, case.chat)


@pytest.mark.parametrize("which", ["first", "assistant", "backbone"])
def test_each_token_has_the_log_probability_that_the_trainer_gives_it(which: str, tmp_path: Path) -> None:
    case = make_student("assistant" if which == "assistant" else "first", tmp_path / "student")
    if which == "backbone":
        case = backbone_of(case, tmp_path / "backbone")
    found = apart(training.sampled, case, tmp_path, SAMPLINGS)
    assert max(found["gaps"]) < 1e-4
    assert found["forbidden"] == 0
    assert found["outside"] == [0, 0, 0]
    assert found["again"]
    assert found["different"] == 20
    assert found["greedy"] == (20, 20)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "vicur"},
        {"method": "opsd", "trained": {"type": "lora", "rank": 4, "vision": True}, "updates_per_batch": 2},
    ],
    ids=["whole", "lora"],
)
def test_ten_greedy_steps_end_in_the_same_weights_with_either_engine(settings, inputs, tmp_path) -> None:  # noqa: F811
    shared = {**SETTINGS.model_dump(), **settings, "steps": 10, "validate_every": 5, "keep": "last"}
    greedy = {"max_new_tokens": 6, "temperature": 0}
    both = [
        SETTINGS.model_validate({**shared, "rollout": {**greedy, "engine": engine}})
        for engine in ("transformers", training.INSIDE)
    ]
    own, other = (load_file(student / "model.safetensors") for student in apart(training.train, inputs, tmp_path, both))
    # Both learn from the same tokens, so all but the engine is the same computation.
    assert max(float((own[name] - other[name]).abs().max()) for name in own) < 1e-6
    start = load_file(inputs["base"] / "model.safetensors")
    assert max(float((own[name] - start[name]).abs().max()) for name in start) > 1e-3
    told = curves(tmp_path / "1" / "student")
    assert max(record["rollout/logprob_gap_max"] for record in told if "loss" in record) < 1e-4


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(inputs, tmp_path) -> None:  # noqa: F811
    shared = {**SETTINGS.model_dump(), "steps": 4, "rollout": {"max_new_tokens": 6, "engine": training.INSIDE}}
    settings = SETTINGS.model_validate(shared)
    with pytest.raises(BrokenProcessPool):
        apart(training.train_until, inputs, tmp_path / "0", settings, 2)
    students = [
        *apart(training.train, inputs, tmp_path, [settings]),
        *apart(training.train, inputs, tmp_path / "again", [settings]),
    ]
    resumed, whole = map(curves, students)
    assert resumed == whole
    weights = [load_file(student / "model.safetensors") for student in students]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_training_whose_engine_is_at_fault_stops_and_leaves_the_student_as_it_was(base, tmp_path) -> None:  # noqa: F811
    told = apart(training.faults, base, tmp_path)
    assert (told["right"], told["learned"], told["left"], told["gradients"]) == ("True", "True", "True", "False")
    assert (
        "holds other weights than were given: model.language_model.layers.1.self_attn.k_proj.weight." in told["damaged"]
    )
    assert "model.language_model.norm.weight" in told["lost"]
    assert "nats a token from the trainer's at step 2" in told["tampered"]
    assert "above 0.001" in told["tampered"]
    assert told["room"] == "it starts"


def test_too_little_room_for_keys_and_values_is_told_with_the_setting(base, tmp_path) -> None:  # noqa: F811
    told = apart(training.refused_start, base, tmp_path, {"cache_gb": 1e-5})
    assert told.startswith("vLLM inside the training: does not start (")
    assert "cache_gb (of training.rollout.engine or training.teacher.engine) is 1e-05: raise it" in told


def test_a_teacher_in_vllm_scores_as_the_trainings_own(base, tmp_path) -> None:  # noqa: F811
    """With hint, image and response; it stands beside the engine of the rollouts."""
    told = apart(training.scored_by_teachers, base, tmp_path, training.INSIDE)
    assert told["apart"] < 1e-4
    for own, other in zip(*told["metrics"], strict=True):
        assert {name: other[name] for name in ("loss", "gap/whole", "entropy")} == pytest.approx(
            {name: own[name] for name in ("loss", "gap/whole", "entropy")}, abs=1e-4
        )
        assert other["response_tokens"] == own["response_tokens"]
