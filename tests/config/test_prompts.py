"""Prompt settings: written in the section ``data``, read by every stage that builds prompts, and no part of the dataset."""

from __future__ import annotations

import pytest

from vicur.cluster.keys import cache_keys
from vicur.cluster.request import Request, resolved
from vicur.config.ablation import AblationConfig
from vicur.config.loading import load_config
from vicur.config.prompts import CHOICES_TEMPLATE, PixelBudget, PixelBudgets, PromptConfig
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.stage.table import STAGES
from vicur.steps.parameters import pipeline_parameters
from vicur.steps.sections import config_of, sections_of

_WRITTEN = ["data.system_prompt=Be brief.", "data.pixels={min: 1000, teacher: {max: 9000}}"]
_VERSIONS = dict.fromkeys(STAGES, "v")


def _configured(*overrides: str) -> RunConfig:
    return load_config(None, overrides)


def test_every_stage_gets_the_prompts_that_data_sets() -> None:
    config = _configured(*_WRITTEN)
    sections = (config.cues, config.training.for_method("vicur"), config.evaluation)
    assert {each.prompts.system for each in sections} == {"Be brief."}
    assert config.training.prompts.pixels.of("teacher") == PixelBudget(min=1000, max=9000)
    assert config.evaluation.prompts.pixels.of("evaluation") == PixelBudget(min=1000)


def test_cells_of_an_ablation_get_the_prompts() -> None:
    arm = {"name": "a", "about": "an arm", "method": "vicur"}
    config = AblationConfig.model_validate(
        {"arms": [arm], "data": {"type": "digit_scenes", "system_prompt": "Be brief."}}
    )
    assert {cell.training.prompts.system for cell in config.cells()} == {"Be brief."}
    assert {cell.evaluation.prompts.system for cell in config.cells()} == {"Be brief."}


def test_prompts_change_the_identity_of_each_stage_but_that_of_the_dataset() -> None:
    plain, prompted = RunConfig(), _configured(*_WRITTEN)
    assert prompted.data.identity() == plain.data.identity()
    for name in ("cues", "training", "evaluation"):
        assert getattr(prompted, name).identity() != getattr(plain, name).identity()
        assert "prompts" not in getattr(plain, name).identity()


def test_pixels_of_a_teacher_leave_evaluations_cached() -> None:
    assert _configured("data.pixels.teacher.max=9000").evaluation.identity() == RunConfig().evaluation.identity()


def test_the_platform_reuses_the_dataset_and_nothing_that_reads_prompts() -> None:
    plain, prompted = (cache_keys(config, _VERSIONS) for config in (RunConfig(), _configured(*_WRITTEN)))
    assert {label for label in plain if plain[label] == prompted[label]} == {"prepare", "base"}
    # Kubeflow Pipelines compares parameters, too.
    steps = [pipeline_parameters(config, {}) for config in (RunConfig(), _configured(*_WRITTEN))]
    assert steps[0]["prepare_step"] == steps[1]["prepare_step"]
    assert steps[1]["extract_step"]["config"]["prompts"]["system"] == "Be brief."


def test_a_stored_configuration_reads_back_as_it_was_written() -> None:
    config = _configured(*_WRITTEN)
    stored = config.model_dump(mode="json")
    assert "prompts" not in stored["evaluation"]
    assert RunConfig.model_validate(stored) == config
    assert config_of(sections_of(config)) == config.model_copy(update={"name": "local"})


def test_another_dataset_keeps_the_prompts() -> None:
    preset = _configured(*_WRITTEN).model_dump(mode="json")
    form = Request(image="i", gpu_type="nvidia.com/gpu", data_source="s3://bucket/questions")
    config = resolved(preset, form)
    assert (config.data.type, config.data.system_prompt) == ("remote", "Be brief.")
    assert config.evaluation.prompts.pixels.evaluation == PixelBudget(min=1000)
    switched = _configured(*_WRITTEN, "data=folder", "data.path=questions")
    assert (switched.data.type, switched.training.prompts.system) == ("folder", "Be brief.")


def test_a_budget_for_one_use_takes_what_it_leaves_out_from_the_shared_one() -> None:
    budgets = PixelBudgets(min=10, max=100, student=PixelBudget(max=50))
    assert budgets.of("student") == PixelBudget(min=10, max=50)
    assert budgets.of("evaluation") == PixelBudget(min=10, max=100)
    assert PixelBudgets().of("teacher") == PixelBudget()


def test_blank_prompts_and_null_pixels_are_the_defaults() -> None:
    config = RunConfig.model_validate({"data": {"type": "digit_scenes", "system_prompt": "  ", "pixels": None}})
    assert config.training.prompts == PromptConfig()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.pixels.max=0", "data.pixels.max"),
        ("data.pixels={min: 100, max: 10}", "min = 100 is above max = 10"),
        ("data.pixels={min: 100, student: {max: 10}}", "student: min = 100 is above max = 10"),
        ("data.choices_template='{question}'", "{letter}"),
        ("data.choices_template='{letter}. {choice}'", "{question}"),
        ('data.choices_template="{question}\\n{letter}\\n{choice}"', "on the same line"),
        ('data.choices_template="{question}\\n{letter} {choice} {text}"', "{text}"),
        ("data={type: digit_scenes, system_promt: hello}", "system_prompt"),
        ("training.prompts={system: hello}", "data.system_prompt"),
    ],
)
def test_wrong_prompt_settings_are_refused(override: str, message: str) -> None:
    with pytest.raises(VicurError) as refused:
        _configured(override)
    assert message in str(refused.value)


def test_an_arm_cannot_have_prompts_of_its_own() -> None:
    arm = {"name": "a", "about": "an arm", "method": "vicur", "training": {"prompts": {"system": "x"}}}
    with pytest.raises(ValueError, match=r"data\.system_prompt"):
        AblationConfig.model_validate({"arms": [arm]})


def test_the_default_template_has_lettered_lines_below_the_question() -> None:
    assert CHOICES_TEMPLATE == "{question}\n{letter}. {choice}"


def test_an_evaluation_answers_in_as_many_tokens_as_rollouts_unless_it_says_otherwise() -> None:
    def tokens(*overrides: str) -> int:
        return _configured("training.rollout.max_new_tokens=1024", *overrides).evaluation.sampling.max_new_tokens

    assert RunConfig().evaluation.sampling.max_new_tokens == 40
    assert tokens() == 1024
    assert tokens("evaluation.decoding.max_new_tokens=64", "evaluation.decoding.type=greedy") == 64
    assert tokens("evaluation.decoding={type: sampled, sampling: {temperature: 0.5}}") == 1024
    assert tokens("evaluation.decoding={type: sampled, sampling: {max_new_tokens: 64}}") == 64
    assert tokens("evaluation.decoding=paper") == 4096


def test_a_stored_evaluation_follows_the_rollouts_of_a_later_setting() -> None:
    stored = _configured("training.rollout.max_new_tokens=1024").model_dump(mode="json")
    stored["training"]["rollout"]["max_new_tokens"] = 64
    assert RunConfig.model_validate(stored).evaluation.sampling.max_new_tokens == 64


def test_cells_of_an_ablation_evaluate_within_the_rollouts() -> None:
    arm = {"name": "a", "about": "an arm", "method": "vicur"}
    config = AblationConfig.model_validate({"arms": [arm], "training": {"rollout": {"max_new_tokens": 1024}}})
    assert {cell.evaluation.sampling.max_new_tokens for cell in config.cells()} == {1024}
    with pytest.raises(VicurError, match=r"evaluation\.decoding\.max_new_tokens"):
        _configured("evaluation.rollout_tokens=5")
