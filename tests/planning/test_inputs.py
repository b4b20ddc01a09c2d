"""A run's configuration is converted to a plan's input, and contradictory inputs are rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vicur.config.loading import load_config
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.planning import plan_input
from vicur.planning.from_config import setting

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("size", ["2B", "4B", "8B", "32B"])
def test_the_shipped_configurations_have_the_settings_of_the_paper(size: str) -> None:
    config = load_config(CONFIGS / f"qwen3-vl-{size.lower()}.yaml")
    plan = plan_input(config, "vicur", assumed={"examples": 55 * 128})
    assert plan.student.endswith(f"Qwen3-VL-{size}-Instruct")
    assert (plan.steps, plan.batch_size, plan.rollouts) == (275, 128, 1)
    assert (plan.max_prompt_tokens, plan.max_response_tokens, plan.objective) == (2048, 4096, "k1")
    assert plan.recovery is not None
    assert (plan.recovery.interval, plan.recovery.sink) == (5, "first")
    assert config.training.learning_rate == 1e-6
    assert (config.data.type, config.cues.provider.type) == ("folder", "annotation")


def test_the_method_determines_whether_there_is_cue_recovery() -> None:
    config = load_config(None)
    assert plan_input(config, "opsd").recovery is None
    assert plan_input(config, "vicur").recovery == config.training.recovery.module


def test_teacher_rollouts_and_trained_weights_follow_the_method() -> None:
    stronger = load_config(None, ["methods=[opd]", "training.teacher={type: checkpoint, path: /models/Qwen3-VL-8B}"])
    plan = plan_input(stronger, "opd")
    assert (plan.teacher, plan.teacher_model, plan.recovery) == ("checkpoint", "/models/Qwen3-VL-8B", None)
    rewarded = plan_input(load_config(None), "grpo")
    assert (rewarded.teacher, rewarded.rollouts, rewarded.objective) == ("none", 5, "grpo")
    assert not plan_input(load_config(None), "sft").on_policy
    updated = load_config(None, ["training.trained={type: lora, rank: 8}", "training.teacher.type=self-adapter-off"])
    plan = plan_input(updated, "vicur")
    assert (plan.trained, plan.lora_rank, plan.train_vision, plan.teacher) == ("lora", 8, False, "adapter_off")


def test_the_number_of_examples_is_known_for_digit_scenes_only() -> None:
    config = load_config(None)
    assert plan_input(config, "vicur").examples == config.data.distill.scenes * config.data.distill.questions  # type: ignore[union-attr]
    assert plan_input(load_config(CONFIGS / "qwen3-vl-8b.yaml"), "vicur").examples is None


def test_assumptions_override_the_configuration() -> None:
    plan = plan_input(load_config(None), "vicur", assumed={"student": "8B", "steps": 3}, hardware={"gpu_memory": 40})
    assert (plan.student, plan.steps, plan.hardware.gpu_memory) == ("8B", 3, 40)


def test_batch_shares_are_rounded_up_and_limit_the_micro_batch() -> None:
    plan = plan_input(load_config(None), "vicur", assumed={"batch_size": 10, "gpus": 4, "micro_batch_size": 8})
    assert (plan.sequences_a_gpu, plan.micro_batch, plan.rollout_batch) == (3, 3, 3)


@pytest.mark.parametrize(
    ("assumed", "message"),
    [
        ({"microbatch": 1}, "no setting 'microbatch'"),
        ({"strategy": "tp"}, "strategy"),
        ({"teacher": "checkpoint"}, "teacher_model"),
        ({"teacher": "adapter_off"}, "lora"),
        ({"teacher": "none", "teacher_gpus": 1}, "teacher 'none' has no separate weights"),
        ({"gpus": 4, "teacher_gpus": 2}, "Set teacher_gpus to 4 "),
        ({"trained": "recovery", "recovery": None}, "cue recovery"),
        ({"mean_response_tokens": 5000}, "mean_response_tokens is 5000, which exceeds"),
        ({"gpus": 0}, "gpus"),
    ],
)
def test_contradictory_inputs_are_rejected_with_the_reason(assumed: dict[str, Any], message: str) -> None:
    with pytest.raises(VicurError, match=message):
        plan_input(load_config(None), "vicur", assumed=assumed)


@pytest.mark.parametrize(
    ("field", "value", "arguments"),
    [
        ("gpus", 16, "--gpus 16"),
        ("teacher_gpus", 4, "--set training.distribution.teacher_devices=separate --gpus 8"),
        ("train_vision", False, "--set training.trained.vision=false"),
        ("micro_batch_size", 2, "--set training.micro_batch_size=2"),
        ("gradient_checkpointing", True, "--set training.gradient_checkpointing=true"),
        ("strategy", "fsdp", "--set training.distribution.strategy=fsdp"),
        ("image_tokens", 64, "--assume image_tokens=64"),
    ],
)
def test_a_change_is_shown_as_command_line_arguments(field: str, value: object, arguments: str) -> None:
    assert setting(field, value) == arguments


def test_the_pixel_budget_determines_the_visual_tokens() -> None:
    sizes = {"max": 401408, "teacher": {"max": 802816}, "evaluation": {"max": 4_000_000}}
    config = RunConfig(base={"path": "2B"}, data={"type": "digit_scenes", "pixels": sizes})
    assert plan_input(config, "vicur").image_tokens == 784
    assert plan_input(config, "vicur", assumed={"image_tokens": 5}).image_tokens == 5
    assert plan_input(RunConfig(data={"pixels": {"max": 4096}}), "vicur").image_tokens == 16


def test_visual_tokens_are_those_of_the_largest_video_if_videos_are_configured() -> None:
    settings = ["data={type: folder, path: films, video: {max_frames: 16, pixels: 3145728}}", "base.path=tiny"]
    config = load_config(None, settings)
    # Two frames become one group, and 16 x 16 pixels one token of the tiny model.
    assert plan_input(config, "opsd").image_tokens == 3145728 // 2 // 256
