"""A plan determines whether a run fits, and its suggestions save what they claim."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vicur.config.loading import load_config
from vicur.planning import Plan, PlanInput, make_plan, plan_input, plan_record, show_plan
from vicur.planning.memory import peak, student_memory
from vicur.planning.model import models_of

CONFIGS = Path(__file__).parents[2] / "configs"
GIB = 2**30
# Nothing saves memory: everything is replicated on each GPU in float32, and all activations are saved.
WASTEFUL = {"strategy": "ddp", "mixed_precision": "none", "gradient_checkpointing": False}


def plan_for(size: str, gpus: int = 8, **assumed: Any) -> PlanInput:
    return plan_input(load_config(CONFIGS / f"qwen3-vl-{size}.yaml"), "vicur", assumed={"gpus": gpus, **assumed})


@pytest.fixture(scope="module")
def too_large() -> Plan:
    return make_plan(plan_for("8b", **WASTEFUL))


@pytest.fixture(scope="module")
def fitting() -> Plan:
    return make_plan(plan_for("8b", examples=55 * 128))


def peak_bytes(plan: PlanInput) -> int:
    return peak(student_memory(plan, models_of(plan)))[1]


def test_the_8b_configuration_fits_on_8_gpus_of_80_gib_but_not_without_its_savings(
    too_large: Plan, fitting: Plan
) -> None:
    assert not too_large.fits
    assert fitting.fits
    assert (fitting.suggestions, fitting.way_to_fit) == ((), ())
    assert fitting.limit == int(72 * GIB)


def test_each_suggestion_saves_what_it_claims(too_large: Plan) -> None:
    before = peak_bytes(too_large.input)
    assert too_large.suggestions
    for suggestion in too_large.suggestions:
        changed = suggestion.change.apply(too_large.input)
        assert changed is not None
        assert before - peak_bytes(changed) == suggestion.saves > 0
        assert suggestion.fits == (peak_bytes(changed) <= too_large.limit)


def test_suggestions_that_change_the_student_come_last(too_large: Plan) -> None:
    altering = [suggestion.change.alters for suggestion in too_large.suggestions]
    assert altering == sorted(altering)
    assert {s.change.field for s in too_large.suggestions if s.change.alters} == {
        "trained",
        "train_vision",
        "max_response_tokens",
    }


@pytest.mark.parametrize("size", ["2b", "8b", "32b"])
def test_the_way_to_fit_fits_and_is_minimal(size: str) -> None:
    plan = make_plan(plan_for(size, **WASTEFUL))
    assert plan.way_to_fit
    assert not any(change.alters for change in plan.way_to_fit)

    def with_all_but(omitted: object) -> PlanInput:
        changed = plan.input
        for change in plan.way_to_fit or ():
            changed = changed if change is omitted else change.apply(changed) or changed
        return changed

    assert peak_bytes(with_all_but(None)) <= plan.limit
    for change in plan.way_to_fit:
        assert peak_bytes(with_all_but(change)) > plan.limit, change.field


def test_no_way_to_fit_is_suggested_if_there_is_none() -> None:
    plan = make_plan(plan_for("32b", gpus=1, hardware={"gpu_memory": 1}))
    assert not plan.fits
    assert plan.way_to_fit is None
    assert "No combination" in shown(plan)


def test_tokens_hours_and_epochs_cover_the_whole_run(fitting: Plan) -> None:
    assert fitting.epochs == 5
    assert fitting.longest.response_tokens == 275 * 128 * 4096
    assert fitting.longest.prompt_tokens == 275 * 128 * 2048
    assert fitting.expected.gpu_hours == pytest.approx(8 * fitting.expected.hours)
    assert fitting.expected.hours < fitting.longest.hours


def test_gpu_hours_include_the_gpus_of_the_teacher() -> None:
    plan = make_plan(plan_for("2b", gpus=4, teacher_gpus=4))
    assert plan.expected.gpu_hours == pytest.approx(8 * plan.expected.hours)
    assert "GPUs of the teacher" in shown(plan)


def shown(plan: Plan) -> str:
    out = io.StringIO()
    show_plan(plan, Console(file=out, width=140))
    return out.getvalue()


def test_the_tables_show_every_part_and_the_assumptions(too_large: Plan) -> None:
    text = shown(too_large)
    for words in ("weights", "gradients", "optimizer", "teacher", "activations", "vision tower", "image features"):
        assert words in text
    for words in ("KV cache", "logits and loss tiles", "GPU-hours", "989 TFLOPS at 40%", "3.35 TB/s at 60%"):
        assert words in text
    assert "The run does not fit." in text
    assert "--set training.distribution.strategy=fsdp" in text
    assert "/models/Qwen3-VL-8B-Instruct does not exist on this machine" in text


def test_the_record_is_json_and_complete(too_large: Plan) -> None:
    record = json.loads(json.dumps(plan_record(too_large)))
    assert record["fits"] is False
    update = record["memory_bytes"]["student"]["update"]
    assert sum(update.values()) == record["peak"]["student"]["bytes"]
    assert record["student"]["recovery"] == 469_770_240
    assert record["expected"]["work"].keys() == {"vision", "rollout", "teacher", "forward", "backward", "loss"}
    assert record["suggestions"][0]["saves_bytes"] > 0
    assert PlanInput.model_validate(record["input"]) == too_large.input


@pytest.mark.parametrize(
    ("engine", "warns"),
    [("transformers", False), ("vllm", True), ("{type: vllm, placement: server, url: 'http://gpu:8000'}", False)],
)
def test_vllm_inside_the_training_is_reported_as_not_included(engine: str, warns: bool) -> None:
    config = load_config(None, [f"training.rollout.engine={engine}"])
    text = shown(make_plan(plan_input(config, "vicur")))
    assert ("Not included: vLLM inside the training" in text) is warns
