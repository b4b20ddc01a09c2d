"""A plan says whether it fits, and its suggestions hold what they promise."""

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


# What the configurations of the published sizes leave behind: everything whole on each GPU, in float32, all activations kept.
BEFORE = {"strategy": "ddp", "mixed_precision": "none", "gradient_checkpointing": False}


def plan_for(size: str, gpus: int = 8, **assumed: Any) -> PlanInput:
    return plan_input(load_config(CONFIGS / f"qwen3-vl-{size}.yaml"), "vicur", assumed={"gpus": gpus, **assumed})


@pytest.fixture(scope="module")
def too_large() -> Plan:
    return make_plan(plan_for("8b", **BEFORE))


@pytest.fixture(scope="module")
def fitting() -> Plan:
    return make_plan(
        plan_for(
            "8b",
            examples=55 * 128,
        )
    )


def level(plan: PlanInput) -> int:
    return peak(student_memory(plan, models_of(plan)))[1]


def test_8b_fits_on_8_gpus_of_80_gib_as_it_is_configured_and_not_whole_on_each(too_large: Plan, fitting: Plan) -> None:
    assert not too_large.fits
    assert fitting.fits
    assert (fitting.suggestions, fitting.way_to_fit) == ((), ())
    assert fitting.limit == int(72 * GIB)


def test_each_suggestion_saves_what_it_says(too_large: Plan) -> None:
    before = level(too_large.input)
    assert too_large.suggestions
    for suggestion in too_large.suggestions:
        changed = suggestion.change.apply(too_large.input)
        assert changed is not None
        assert before - level(changed) == suggestion.saves > 0
        assert suggestion.fits == (level(changed) <= too_large.limit)


def test_suggestions_that_leave_the_student_as_it_is_come_first(too_large: Plan) -> None:
    altering = [suggestion.change.alters for suggestion in too_large.suggestions]
    assert altering == sorted(altering)
    assert {s.change.field for s in too_large.suggestions if s.change.alters} == {
        "trained",
        "train_vision",
        "max_response_tokens",
    }


@pytest.mark.parametrize("size", ["2b", "8b", "32b"])
def test_the_way_to_fit_fits_and_holds_nothing_needless(size: str) -> None:
    made = make_plan(plan_for(size, **BEFORE))
    assert made.way_to_fit
    assert not any(change.alters for change in made.way_to_fit)

    def with_all_but(left_out: object) -> PlanInput:
        plan = made.input
        for change in made.way_to_fit or ():
            plan = plan if change is left_out else change.apply(plan) or plan
        return plan

    assert level(with_all_but(None)) <= made.limit
    for change in made.way_to_fit:
        assert level(with_all_but(change)) > made.limit, change.field


def test_no_way_is_invented_where_there_is_none() -> None:
    made = make_plan(plan_for("32b", gpus=1, hardware={"gpu_memory": 1}))
    assert not made.fits
    assert made.way_to_fit is None
    assert "No combination" in shown(made)


def test_tokens_steps_and_epochs_are_those_of_the_run(fitting: Plan) -> None:
    assert fitting.epochs == 5
    assert fitting.longest.response_tokens == 275 * 128 * 4096
    assert fitting.longest.prompt_tokens == 275 * 128 * 2048
    assert fitting.expected.gpu_hours == pytest.approx(8 * fitting.expected.hours)
    assert fitting.expected.hours < fitting.longest.hours


def test_the_teachers_gpus_are_paid_for_too() -> None:
    made = make_plan(plan_for("2b", gpus=4, teacher_gpus=4))
    assert made.expected.gpu_hours == pytest.approx(8 * made.expected.hours)
    assert "GPU of the teacher" in shown(made)


def shown(plan: Plan) -> str:
    out = io.StringIO()
    show_plan(plan, Console(file=out, width=140))
    return out.getvalue()


def test_what_is_shown_holds_every_part_and_the_assumptions(too_large: Plan) -> None:
    text = shown(too_large)
    for words in ("weights", "gradients", "optimizer", "teacher", "activations", "vision tower", "image features"):
        assert words in text
    for words in ("KV cache", "logits and loss tiles", "GPU-hours", "989 TFLOPS at 40%", "3.35 TB/s at 60%"):
        assert words in text
    assert "It does not fit." in text
    assert "--set training.distribution.strategy=fsdp" in text
    assert "/models/Qwen3-VL-8B-Instruct is not here" in text


def test_a_record_is_plain_and_whole(too_large: Plan) -> None:
    record = json.loads(json.dumps(plan_record(too_large)))
    assert record["fits"] is False
    update = record["memory_bytes"]["student"]["update"]
    assert sum(update.values()) == record["peak"]["student"]["bytes"]
    assert record["student"]["recovery"] == 469_770_240
    assert record["expected"]["work"].keys() == {"vision", "rollout", "teacher", "forward", "backward", "loss"}
    assert record["suggestions"][0]["saves_bytes"] > 0
    assert PlanInput.model_validate(record["input"]) == too_large.input


@pytest.mark.parametrize(
    ("engine", "told"),
    [("transformers", False), ("vllm", True), ("{type: vllm, placement: server, url: 'http://gpu:8000'}", False)],
)
def test_a_plan_says_that_a_vllm_inside_is_not_counted(engine: str, told: bool) -> None:
    config = load_config(None, [f"training.rollout.engine={engine}"])
    out = io.StringIO()
    show_plan(make_plan(plan_input(config, "vicur")), Console(file=out, width=140))
    assert ("Not counted: vLLM inside the training" in out.getvalue()) is told
