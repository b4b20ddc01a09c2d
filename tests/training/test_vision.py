"""Images in a step: encoded once for each state of a tower's weights, with the gradients of all uses."""

import pytest
import torch

from tests.training.factory import examples_for, state_for
from vicur.training.step import training_step
from vicur.training.vision import StudentVision

LORA = {"type": "lora", "rank": 4}


def encoded(model, calls, name):
    """Record each image that the vision tower of ``model`` encodes."""
    return model.model.visual.register_forward_hook(
        lambda _module, _args, kwargs, _out: calls.extend([name] * len(kwargs["grid_thw"])), with_kwargs=True
    )


# Each of two images, once.
S, T = ("student",) * 2, ("teacher",) * 2


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        # Each step changes a trained tower. The frozen teacher's equals it at step 0, and encodes each image once itself afterwards:
        # what it caches must not depend on whether the training was interrupted.
        ({"method": "vicur"}, [S, S, T, S]),
        ({"method": "vicur", "micro_batch_size": 2}, [S, S, T, S]),
        ({"method": "vicur", "trained": {"type": "full", "vision": False}}, [S]),
        ({"method": "vicur", "trained": LORA}, [S]),
        ({"method": "vicur", "trained": {"type": "recovery"}}, [S]),
        # Each step changes an average teacher's tower too. It equals the student's at step 0.
        ({"method": "vicur", "teacher": {"type": "self-ema"}}, [S, S, T, S, T]),
        ({"method": "vicur", "teacher": {"type": "self-ema"}, "trained": {"type": "full", "vision": False}}, [S]),
        ({"method": "vicur", "teacher": {"type": "self-adapter-off"}, "trained": LORA}, [S]),
        (
            {"method": "vicur", "teacher": {"type": "self-adapter-off"}, "trained": {**LORA, "vision": True}},
            [S, S, S, S],
        ),
        # Another checkpoint's tower never equals the student's, and is frozen.
        ({"method": "opd"}, [S, T, S, S]),
        ({"method": "opd", "trained": {"type": "full", "vision": False}}, [S, T]),
        ({"method": "sft"}, [S, S, S]),
        ({"method": "grpo", "updates_per_batch": 2}, [S] * 6),
        ({"method": "grpo", "updates_per_batch": 2, "trained": LORA}, [S]),
    ],
    ids=str,
)
def test_image_is_encoded_once_for_each_state_of_a_tower(base, settings, calls):
    state = state_for(base, **settings, rollout={"max_new_tokens": 40 if settings["method"] == "sft" else 4})
    rows = examples_for(state)[:6]  # three questions about each of two scenes
    made: list[str] = []
    hooks = [encoded(state.student, made, "student")]
    if state.teacher is not None and state.teacher.model is not state.student:
        hooks.append(encoded(state.teacher.model, made, "teacher"))
    for number in range(3):
        training_step(state, rows, number)
    for hook in hooks:
        hook.remove()
    assert made == [name for each in calls for name in each]


def test_average_teacher_uses_its_own_tower(base):
    state = state_for(base, method="opsd", teacher={"type": "self-ema", "decay": 0.5}, learning_rate=0.01)
    rows = examples_for(state)[:4]
    for number in range(2):
        training_step(state, rows, number)
    images = list(rows[0].teacher.pixels)
    shared = state.vision.encode(images)
    seen = state.teacher.features(images, shared.detached(), 2)[images[0].key].tokens_NH
    with torch.no_grad():
        inputs = torch.cat([image.patches() for image in images]), torch.tensor([image.grid for image in images])
        own = state.teacher.model.model.get_image_features(*inputs, return_dict=True).pooler_output[0]
    assert torch.allclose(seen, own, atol=1e-6)
    assert not torch.allclose(seen, shared.values[images[0].key].tokens_NH, atol=1e-3)


def test_gradients_of_several_uses_pass_the_tower_once(base):
    state = state_for(base, method="opsd")
    images = examples_for(state)[0].student.pixels
    tower = state.student.model.visual

    def gradients(use):
        tower.zero_grad()
        shared = StudentVision(state.parallel, state.recomputation, frozen=None).encode(images)
        use(shared)
        return {name: weight.grad.clone() for name, weight in tower.named_parameters() if weight.grad is not None}

    def split(shared):
        for factor in (1.0, 2.0):
            (factor * shared.values[images[0].key].tokens_NH.square().sum()).backward()
        shared.backward()

    def at_once(shared):
        (3.0 * shared.values[images[0].key].tokens_NH.square().sum()).backward()
        shared.backward()

    one, other = gradients(split), gradients(at_once)
    assert one
    assert all(torch.allclose(one[name], other[name], rtol=1e-5, atol=1e-6) for name in one)


def test_frozen_tower_gets_no_gradient(base):
    state = state_for(base, method="opsd", trained={"type": "full", "vision": False})
    shared = state.vision.encode(examples_for(state)[0].student.pixels)
    assert not any(features.tokens_NH.requires_grad for features in shared.values.values())
    shared.backward()
