"""Images in a step: encoded once for each state of a tower's weights, with the gradient of all that use them."""

import pytest
import torch

from tests.training.factory import learner_for, taught
from vicur.training.step import training_step
from vicur.training.vision import StudentVision

LORA = {"type": "lora", "rank": 4}


def encoded(model, calls, name):
    """Notes each image that the vision tower of ``model`` encodes."""
    return model.model.visual.register_forward_hook(
        lambda _module, _args, kwargs, _out: calls.extend([name] * len(kwargs["grid_thw"])), with_kwargs=True
    )


# Each of two images, once.
S, T = ("student",) * 2, ("teacher",) * 2


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        # A trained tower is another at each step. The frozen teacher's is the student's at step 0, and encodes once itself afterwards:
        # what it keeps must not depend on whether the training was ever interrupted.
        ({"method": "vicur"}, [S, S, T, S]),
        ({"method": "vicur", "micro_batch_size": 2}, [S, S, T, S]),
        ({"method": "vicur", "trained": {"type": "full", "vision": False}}, [S]),
        ({"method": "vicur", "trained": LORA}, [S]),
        ({"method": "vicur", "trained": {"type": "recovery"}}, [S]),
        # The average teacher's is another at each step too, but at step 0.
        ({"method": "vicur", "teacher": {"type": "self-ema"}}, [S, S, T, S, T]),
        ({"method": "vicur", "teacher": {"type": "self-ema"}, "trained": {"type": "full", "vision": False}}, [S]),
        ({"method": "vicur", "teacher": {"type": "self-adapter-off"}, "trained": LORA}, [S]),
        (
            {"method": "vicur", "teacher": {"type": "self-adapter-off"}, "trained": {**LORA, "vision": True}},
            [S, S, S, S],
        ),
        # Another checkpoint's tower is never the student's; it stays as it is.
        ({"method": "opd"}, [S, T, S, S]),
        ({"method": "opd", "trained": {"type": "full", "vision": False}}, [S, T]),
        ({"method": "sft"}, [S, S, S]),
        ({"method": "grpo", "updates_per_batch": 2}, [S] * 6),
        ({"method": "grpo", "updates_per_batch": 2, "trained": LORA}, [S]),
    ],
    ids=str,
)
def test_an_image_is_encoded_once_for_each_state_of_a_tower(base, settings, calls):
    learner = learner_for(base, **settings, rollout={"max_new_tokens": 40 if settings["method"] == "sft" else 4})
    rows = taught(learner)[:6]  # three questions about each of two scenes
    made: list[str] = []
    hooks = [encoded(learner.student, made, "student")]
    if learner.teacher is not None and learner.teacher.model is not learner.student:
        hooks.append(encoded(learner.teacher.model, made, "teacher"))
    for number in range(3):
        training_step(learner, rows, number)
    for hook in hooks:
        hook.remove()
    assert made == [name for each in calls for name in each]


def test_an_average_teacher_sees_with_its_own_tower(base):
    learner = learner_for(base, method="opsd", teacher={"type": "self-ema", "decay": 0.5}, learning_rate=0.01)
    rows = taught(learner)[:4]
    for number in range(2):
        training_step(learner, rows, number)
    images = list(rows[0].teacher.pixels)
    shared = learner.vision.of(images)
    seen = learner.teacher.features(images, shared.detached(), 2)[images[0].key].tokens_NH
    with torch.no_grad():
        inputs = torch.cat([image.patches() for image in images]), torch.tensor([image.grid for image in images])
        own = learner.teacher.model.model.get_image_features(*inputs, return_dict=True).pooler_output[0]
    assert torch.allclose(seen, own, atol=1e-6)
    assert not torch.allclose(seen, shared.values[images[0].key].tokens_NH, atol=1e-3)


def test_gradients_of_several_users_go_through_the_tower_together(base):
    learner = learner_for(base, method="opsd")
    images = taught(learner)[0].student.pixels
    tower = learner.student.model.visual

    def gradients(use):
        tower.zero_grad()
        shared = StudentVision(learner.spread, learner.recomputation, frozen=None).of(images)
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


def test_a_frozen_tower_gets_no_gradient(base):
    learner = learner_for(base, method="opsd", trained={"type": "full", "vision": False})
    shared = learner.vision.of(taught(learner)[0].student.pixels)
    assert not any(features.tokens_NH.requires_grad for features in shared.values.values())
    shared.backward()
