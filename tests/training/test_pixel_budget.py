"""Student and teacher may see an image in different sizes."""

import pytest
import torch

from tests.training.factory import examples_for, scenes, state_for
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.modeling.vision import encode_images
from vicur.training.selection import training_examples
from vicur.training.step import training_step
from vicur.training.trainer import Validation

SMALLER = PromptConfig(pixels=PixelBudgets(student=PixelBudget(max=1024)))


def features_of_steps(state, rows, monkeypatch):
    """Make two steps, and return the features that the teacher scored with."""
    seen = []
    real = state.teacher.features
    monkeypatch.setattr(state.teacher, "features", lambda *args: seen.append(real(*args)) or seen[-1])
    for number in range(2):
        training_step(state, rows, number)
    return seen


@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("teacher", ["self-frozen", "self-ema", "self-adapter-off"])
def test_the_teacher_sees_images_in_its_own_size(base, monkeypatch, teacher, vision):
    trained = {"type": "lora" if teacher == "self-adapter-off" else "full", "vision": vision}
    state = state_for(base, method="vicur", prompts=SMALLER, teacher={"type": teacher}, trained=trained)
    rows = examples_for(state)[:4]
    assert [image.tokens for image in (*rows[0].student.pixels, *rows[0].teacher.pixels)] == [2, 6]
    seen = features_of_steps(state, rows, monkeypatch)
    for features in seen:
        assert {image.key for row in rows for image in row.teacher.pixels} <= set(features)
    with state.teacher.scoring():
        own = encode_images(state.teacher.model, rows[0].teacher.pixels)
    (key,) = own
    # At the first step, all towers are equal. An average moves little in two steps.
    assert torch.allclose(seen[-1][key].tokens_NH, own[key].tokens_NH, atol=1e-2)
    assert seen[-1][key].tokens_NH.shape[0] == 6


def test_equal_budgets_share_the_features_of_the_student(base, monkeypatch):
    both = PromptConfig(pixels=PixelBudgets(student=PixelBudget(max=1024), teacher=PixelBudget(max=1024)))
    state = state_for(base, method="vicur", prompts=both, trained={"type": "full", "vision": False})
    encoded = []
    rows = examples_for(state)[:4]
    for model in (state.teacher.model, state.student):
        visual, forward = model.model.visual, model.model.visual.forward
        monkeypatch.setattr(visual, "forward", lambda *a, f=forward, **k: encoded.append(a) or f(*a, **k))
    seen = features_of_steps(state, rows, monkeypatch)
    assert len(encoded) == len({image.key for row in rows for image in row.student.pixels})
    assert all(features.tokens_NH.shape[0] == 2 for features in seen[0].values())


def test_a_step_does_not_depend_on_how_the_budget_is_written(base):
    losses = []
    for pixels in (PixelBudgets(max=1024), PixelBudgets(student=PixelBudget(max=1024), teacher=PixelBudget(max=1024))):
        state = state_for(base, method="opsd", prompts=PromptConfig(pixels=pixels))
        losses.append(training_step(state, examples_for(state)[:4], 0)["loss"])
    assert losses[0] == losses[1]


def test_a_prompt_that_is_too_long_names_the_budget_that_makes_it_fit(base):
    config = TrainConfig(method="opsd", max_prompt_tokens=80, prompts=PromptConfig(pixels=PixelBudgets(min=16384)))
    chat = Chat.load(base, config.prompts)
    with pytest.raises(
        VicurError, match=r"70 of them visual, above max_prompt_tokens = 80 \(data.pixels.max=(\d+)"
    ) as caught:
        training_examples(scenes("distill"), {}, chat, config)
    fitting = int(str(caught.value).partition("data.pixels.max=")[2].partition(" ")[0])
    chat = Chat.load(base, PromptConfig(pixels=PixelBudgets(max=fitting)))
    assert not training_examples(scenes("distill"), {}, chat, config)[1]


def test_no_budget_is_suggested_if_the_text_alone_is_too_long(base):
    config = TrainConfig(method="opsd", max_prompt_tokens=8)
    with pytest.raises(VicurError, match="visual, above max_prompt_tokens = 8") as caught:
        training_examples(scenes("distill"), {}, Chat.load(base, config.prompts), config)
    assert "data.pixels.max=" not in str(caught.value)


def test_validation_has_the_budget_of_the_student(base, inputs):
    config = TrainConfig(method="opsd", prompts=SMALLER, validation_examples=3)
    prompts = Validation.load(inputs["dataset"], Chat.load(base, config.prompts), config, 0).prompts
    assert {image.tokens for prompt in prompts for image in prompt.pixels} == {2}
