"""Rollouts by vLLM inside the training process: same distribution, correct weights, and the same result as with transformers."""

from __future__ import annotations

import re
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.conftest import base, curves, inputs, session  # noqa: F401 (fixtures)
from tests.training.train_once import SETTINGS
from tests.vllm import training
from tests.vllm.cases import Case, make_student
from tests.vllm.isolated import isolated
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.config.sampling import Sampling
from vicur.modeling import save_model, without_cue_recovery
from vicur.modeling.chat import Chat

pytestmark = pytest.mark.vllm

SAMPLINGS = [
    Sampling(max_new_tokens=12),
    Sampling(temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, max_new_tokens=12),
    Sampling(temperature=1.5, top_p=0.9, max_new_tokens=12),
]


def backbone_of(case: Case, folder: Path) -> Case:
    """Return the backbone of a student, without cue recovery."""
    backbone = without_cue_recovery(case.student)
    save_model(backbone, folder, chat_folder=case.folder)
    return Case(folder, backbone, case.chat)


def weight_names(message: str) -> list[str]:
    return re.findall(r"model\.[\w.]+\.weight\b", message)


@pytest.mark.parametrize("kind", ["first", "assistant", "backbone", "pixel budget"])
def test_sampled_tokens_have_the_logprobs_of_the_trainer(kind: str, tmp_path: Path) -> None:
    case = make_student("assistant" if kind == "assistant" else "first", tmp_path / "student")
    if kind == "backbone":
        case = backbone_of(case, tmp_path / "backbone")
    if kind == "pixel budget":
        # Below and above the range of the checkpoint, 256 to 16,384 pixels.
        prompts = PromptConfig(pixels=PixelBudgets(student=PixelBudget(min=4000, max=20_000)))
        case = replace(case, chat=Chat.load(case.folder, prompts))
    results = isolated(training.sample, case, tmp_path, SAMPLINGS)
    assert max(results["gaps"]) < 1e-4
    assert results["forbidden"] == 0
    assert results["outside"] == [0, 0, 0]
    assert results["reordered"]
    assert results["different"] == 22
    assert results["greedy"] == (22, 22)


TRAINED = {
    "whole": {"method": "vicur"},
    "lora": {"method": "opsd", "trained": {"type": "lora", "rank": 4, "vision": True}, "updates_per_batch": 2},
}


@pytest.fixture(scope="module")
def students(inputs, tmp_path_factory) -> dict[str, tuple[Path, Path]]:  # noqa: F811
    """Students after ten greedy steps with transformers and with vLLM, by what is trained. One process trains all of them."""
    shared = {**SETTINGS.model_dump(), "steps": 10, "validate_every": 5, "keep": "last"}
    greedy = {"max_new_tokens": 6, "temperature": 0}
    settings = [
        SETTINGS.model_validate({**shared, **trained, "rollout": {**greedy, "engine": engine}})
        for trained in TRAINED.values()
        for engine in ("transformers", training.INSIDE)
    ]
    folders = isolated(training.train, inputs, tmp_path_factory.mktemp("trained"), settings)
    return dict(zip(TRAINED, zip(folders[::2], folders[1::2], strict=True), strict=True))


@pytest.mark.parametrize("trained", TRAINED)
def test_ten_greedy_steps_give_the_same_weights_with_both_engines(trained, students, inputs) -> None:  # noqa: F811
    own, other = (load_file(student / "model.safetensors") for student in students[trained])
    # Greedy responses are the same tokens, so everything except the engine is the same computation.
    assert max(float((own[name] - other[name]).abs().max()) for name in own) < 1e-6
    start = load_file(inputs["base"] / "model.safetensors")
    assert max(float((own[name] - start[name]).abs().max()) for name in start) > 1e-3
    records = curves(students[trained][1])
    assert max(record["rollout/logprob_gap_max"] for record in records if "loss" in record) < 1e-4


def test_a_killed_training_run_resumes_with_identical_results(inputs, tmp_path) -> None:  # noqa: F811
    shared = {**SETTINGS.model_dump(), "steps": 4, "rollout": {"max_new_tokens": 6, "engine": training.INSIDE}}
    settings = SETTINGS.model_validate(shared)
    with pytest.raises(BrokenProcessPool):
        isolated(training.train_until, inputs, tmp_path / "0", settings, 2)
    students = [
        *isolated(training.train, inputs, tmp_path, [settings]),
        *isolated(training.train, inputs, tmp_path / "again", [settings]),
    ]
    resumed, whole = map(curves, students)
    assert resumed == whole
    weights = [load_file(student / "model.safetensors") for student in students]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_faulty_engine_stops_the_training_run_and_leaves_the_student_unchanged(base, tmp_path) -> None:  # noqa: F811
    results = isolated(training.faults, base, tmp_path)
    assert (results["intact"], results["updated"]) == ("True", "True")
    assert weight_names(results["damaged"]) == ["model.language_model.layers.1.self_attn.k_proj.weight"]
    assert "model.language_model.norm.weight" in results["missing"]
    assert "step 2" in results["tampered"]
    assert "0.001" in results["tampered"]
    assert (results["unchanged"], results["gradients"]) == ("True", "False")
    assert results["startup"] == "starts"


def test_a_kv_cache_that_is_too_small_is_reported_with_its_setting(base, tmp_path) -> None:  # noqa: F811
    error = isolated(training.startup_error, base, tmp_path, {"cache_gb": 1e-5})
    assert error.startswith("vLLM inside the training: vLLM failed to start (")
    assert "cache_gb (of training.rollout.engine or training.teacher.engine) is 1e-05. Raise it" in error


def test_a_teacher_in_vllm_gives_the_same_scores_as_a_local_one(base, tmp_path) -> None:  # noqa: F811
    """The prompts have hints and images, and the process has a second engine for rollouts."""
    results = isolated(training.compare_teachers, base, tmp_path, training.INSIDE)
    assert results["gap"] < 1e-4
    for own, other in zip(*results["metrics"], strict=True):
        assert {name: other[name] for name in ("loss", "gap/whole", "entropy")} == pytest.approx(
            {name: own[name] for name in ("loss", "gap/whole", "entropy")}, abs=1e-4
        )
        assert other["response_tokens"] == own["response_tokens"]
