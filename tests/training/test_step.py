"""A distillation step: one distribution for all scores, each image encoded once, a teacher that stays as it is."""

from contextlib import contextmanager

import pytest
import torch

from tests.training.factory import learner_for, save_random_base, taught
from vicur.config.methods import METHODS
from vicur.modeling.generation import generate
from vicur.modeling.scoring import score_responses
from vicur.modeling.vision import encode_images
from vicur.training import lesson as lesson_module
from vicur.training.checkpoint import trained_weights
from vicur.training.step import training_step
from vicur.training.trainer import Validation


@contextmanager
def encoded_images(learner):
    """Names of the towers, student's or teacher's, once for each image that they encode meanwhile."""
    calls = []

    def counter(name):
        return lambda _module, _args, kwargs, _out: calls.extend([name] * len(kwargs["grid_thw"]))

    towers = {"student": learner.student.model.visual, "teacher": learner.teacher.model.model.visual}
    hooks = [tower.register_forward_hook(counter(name), with_kwargs=True) for name, tower in towers.items()]
    yield calls
    for hook in hooks:
        hook.remove()


@contextmanager
def features_of_teacher(monkeypatch, learner):
    """Features that the teacher is asked to score with meanwhile."""
    seen, real = [], lesson_module.response_states

    def watched(model, batch, features):
        if model is learner.teacher.model:
            seen.append(features)
        return real(model, batch, features)

    with monkeypatch.context() as patch:
        patch.setattr(lesson_module, "response_states", watched)
        yield seen


@pytest.mark.parametrize("method", [m for m in METHODS if m != "sft"])
def test_rollout_and_training_forward_score_the_same_tokens_alike(base, method):
    learner = learner_for(base, method=method)
    rows = taught(learner)[:6]
    training_step(learner, rows, 0)  # the module no longer adds zero
    answers = generate(learner.student, learner.chat, [row.student for row in rows], learner.config.rollout, seed=1)
    batch = learner.chat.collate([row.student for row in rows], [a.ids for a in answers])
    forbidden = learner.chat.forbidden_ids(learner.student.config.text_config.vocab_size)
    features = encode_images(learner.student, batch.pixels)
    scored = score_responses(learner.student, batch, features, forbidden).logprobs_BR
    for answer, row in zip(answers, scored, strict=True):
        assert answer.logprobs == pytest.approx(row[: len(answer.ids)].tolist(), abs=2e-5)


@pytest.mark.parametrize("method", ["opsd", "vicur"])
def test_scores_do_not_depend_on_the_rest_of_the_batch(base, method):
    learner = learner_for(base, method=method)
    rows = taught(learner)[:5]
    training_step(learner, rows, 0)
    replies = [learner.chat.encode_response("Answer: 7")[: 1 + n] for n in range(4)] + [[learner.chat.end_id]]
    forbidden = learner.chat.forbidden_ids(learner.student.config.text_config.vocab_size)

    def score(prompts, responses):
        batch = learner.chat.collate(prompts, responses)
        return score_responses(
            learner.student, batch, encode_images(learner.student, batch.pixels), forbidden
        ).logprobs_BR

    together = score([row.teacher if n % 2 else row.student for n, row in enumerate(rows)], replies)
    for n, (row, reply) in enumerate(zip(rows, replies, strict=True)):
        alone = score([row.teacher if n % 2 else row.student], [reply])
        assert alone[0].tolist() == pytest.approx(together[n, : len(reply)].tolist(), abs=1e-5)


def test_each_distinct_image_is_encoded_once_for_each_state_of_a_tower(base):
    learner = learner_for(base, method="vicur")
    rows = taught(learner)[:6]  # three questions about each of two scenes
    counts = []
    for number in range(4):
        with encoded_images(learner) as calls:
            training_step(learner, rows, number)
        counts.append((calls.count("student"), calls.count("teacher")))
    # At step 0 both towers are in one state; the student's is in another at each step, the teacher's stays.
    assert counts == [(2, 0), (2, 2), (2, 0), (2, 0)]


def test_each_image_is_encoded_once_a_run_by_a_frozen_tower(base):
    learner = learner_for(base, method="vicur", trained={"type": "full", "vision": False})
    rows = taught(learner)
    before = {n: p.clone() for n, p in learner.student.model.visual.named_parameters()}
    prompts = [row.student for row in rows]
    validation = Validation([row.example for row in rows], prompts)
    with encoded_images(learner) as calls:
        for number in range(3):
            training_step(learner, rows[4 * number : 4 * number + 8], number)
            validation.accuracy(learner)
    assert calls == ["student"] * len({image.key for prompt in prompts for image in prompt.pixels})
    assert all(torch.equal(p, before[n]) for n, p in learner.student.model.visual.named_parameters())


def test_a_run_that_goes_on_after_a_kill_finds_what_a_frozen_tower_saw(base, tmp_path):
    settings = {"method": "opsd", "trained": {"type": "full", "vision": False}}
    rows = taught(learner_for(base, **settings))[:6]
    training_step(learner_for(base, work=tmp_path, **settings), rows, 0)
    again = learner_for(base, work=tmp_path, **settings)
    with encoded_images(again) as calls:
        training_step(again, rows, 0)
    assert calls == []


def test_the_teacher_is_scored_with_features_of_its_own_tower(base, monkeypatch):
    learner = learner_for(base, method="opsd", learning_rate=0.05)
    rows = taught(learner)[:4]
    with features_of_teacher(monkeypatch, learner) as seen:
        for number in range(2):
            training_step(learner, rows, number)
    own = encode_images(learner.teacher.model, rows[0].teacher.pixels)
    drifted = encode_images(learner.student, rows[0].student.pixels)
    (key,) = own
    assert torch.allclose(seen[-1][key].tokens_NH, own[key].tokens_NH, atol=1e-5)
    assert not torch.allclose(drifted[key].tokens_NH, own[key].tokens_NH, atol=1e-3)


def test_another_checkpoint_sees_with_its_own_tower_though_both_are_frozen_and_share_a_folder(
    base, monkeypatch, tmp_path
):
    other = save_random_base(tmp_path / "other", seed=1)
    learner = learner_for(
        base,
        work=tmp_path,
        method="opd",
        teacher={"type": "checkpoint", "path": other},
        trained={"type": "full", "vision": False},
    )
    rows = taught(learner)[:4]
    with features_of_teacher(monkeypatch, learner) as seen:
        for number in range(2):
            training_step(learner, rows, number)
    own = encode_images(learner.teacher.model, rows[0].teacher.pixels)
    students = encode_images(learner.student, rows[0].student.pixels)
    (key,) = own
    for features in seen:
        assert torch.allclose(features[key].tokens_NH, own[key].tokens_NH, atol=1e-5)
        assert not torch.allclose(features[key].tokens_NH, students[key].tokens_NH, atol=1e-3)


def test_placeholders_and_control_tokens_are_never_sampled_however_likely(base):
    learner = learner_for(base, method="opsd", rollout={"max_new_tokens": 12})
    forbidden = learner.chat.forbidden_ids(learner.student.config.text_config.vocab_size)
    embedding = learner.student.get_input_embeddings().weight
    with torch.no_grad():
        embedding[forbidden] = 50 * embedding[forbidden]
    answers = generate(
        learner.student, learner.chat, [r.student for r in taught(learner)], learner.config.rollout, seed=0
    )
    assert not set(forbidden.tolist()) & {token for answer in answers for token in answer.ids}
    assert learner.chat.image_id in forbidden


def test_a_step_tells_what_the_paper_tracks(base):
    learner = learner_for(base, method="opsd")
    metrics = training_step(learner, taught(learner)[:4], 0)
    wanted = {
        "gap/whole",
        "gap/half_1",
        "gap/half_2",
        "gap/quarter_1",
        "gap/quarter_4",
        "leakage/samples",
        "leakage/occurrences",
    }
    wanted |= {
        "entropy",
        "response_tokens",
        "rollout_accuracy",
        "tokens_per_second",
        "seconds/rollout",
        "seconds/teacher",
        "loss",
    }
    assert wanted <= set(metrics)
    assert all(value == value for value in metrics.values())


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(base):
    learner = learner_for(base, method="opsd")
    with torch.no_grad():
        learner.teacher.model.model.language_model.norm.weight.fill_(float("nan"))
    before = learner.processes.collect(trained_weights(learner.student))
    with pytest.raises(FloatingPointError, match="nan"):
        training_step(learner, taught(learner)[:4], 0)
    assert all(torch.equal(w, before[n]) for n, w in trained_weights(learner.student).items())
