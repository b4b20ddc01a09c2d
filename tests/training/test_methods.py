"""Methods and the settings beside them: each learns, changes what it should and nothing else, and keeps its teacher apart."""

import math

import pytest
import torch
from vicur.training.course import finished_student

from tests.training.factory import learner_for, taught
from vicur.config.base import BaseModelConfig
from vicur.config.methods import METHODS
from vicur.config.training import TrainConfig
from vicur.modeling import load_model, save_model
from vicur.modeling.scoring import score_responses
from vicur.modeling.vision import encode_images
from vicur.training import batch as attempts_module
from vicur.training import lesson as lesson_module
from vicur.training.checkpoint import restore, trained_weights
from vicur.training.step import training_step

SHIPPED = BaseModelConfig().folder
LORA = {"type": "lora", "rank": 4, "alpha": 8}


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def changed(model, before):
    return {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}


def steps(learner, count=2, rows=4):
    examples = taught(learner)
    return [training_step(learner, examples[n * rows : (n + 1) * rows], n) for n in range(count)]


@torch.no_grad()
def logprobs(model, learner, prompts="student", count=4):
    """Log-probs of some replies, padding included."""
    rows = taught(learner)[:count]
    replies = [learner.chat.encode_response("Answer: 7")[: 1 + n % 3] for n in range(count)]
    batch = learner.chat.collate([getattr(row, prompts) for row in rows], replies)
    forbidden = learner.chat.forbidden_ids(model.config.text_config.vocab_size)
    return score_responses(model, batch, encode_images(model, batch.pixels), forbidden).logprobs_BR


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_the_whole_student_and_leaves_its_teacher_alone(base, method):
    # Of random weights no response is right, and rewards tell nothing apart.
    long = {"rollout": {"max_new_tokens": 40}} if method in ("grpo", "sft") else {}
    learner = learner_for(SHIPPED if method == "grpo" else base, method=method, **long)
    student, teacher = weights(learner.student), weights(learner.teacher.model) if learner.teacher else {}
    metrics = steps(learner)
    assert all(math.isfinite(value) for step in metrics for value in step.values())
    names = changed(learner.student, student)
    assert any(name.startswith("model.visual") for name in names)
    assert any(name.startswith("model.language_model") for name in names)
    assert any("cue_recovery" in name for name in names) == learner.config.effective.recovery
    assert learner.teacher is None or changed(learner.teacher.model, teacher) == set()
    assert ("gap/whole" in metrics[0]) == (learner.teacher is not None)


def test_a_setting_beside_the_name_replaces_the_method_s_own(base):
    learner = learner_for(base, method="opsd", privilege="rationale")
    row = taught(learner)[0]
    told = learner.chat.decode(row.teacher.ids)
    assert row.example.rationale in told
    assert f"Answer: {row.example.answer}" not in told
    assert learner.config.effective == TrainConfig(method="opsd", privilege="rationale").effective
    assert learner.config.effective.teacher.type == "self-frozen"


def test_settings_of_one_method_have_no_part_in_another_s_training():
    shared = {"steps": 7, "per_method": {"grpo": {"steps": 9}, "sft": {"learning_rate": 1e-5}}}
    assert TrainConfig.model_validate({**shared, "method": "grpo"}).steps == 9
    assert TrainConfig.model_validate({**shared, "method": "opsd"}) == TrainConfig(method="opsd", steps=7)


def test_lora_trains_its_updates_and_the_recovery_module_alone(base):
    learner = learner_for(base, method="vicur", trained=LORA)
    before = weights(learner.student)
    steps(learner)
    names = changed(learner.student, before)
    assert names
    assert all("lora_" in name or "cue_recovery" in name for name in names)
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names if "lora_" in name} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert not any(name.startswith("model.visual") for name in names)


def test_lora_on_the_vision_tower_changes_what_the_student_sees(base):
    learner = learner_for(base, method="opsd-cue", trained={**LORA, "vision": True}, learning_rate=0.01)
    before = weights(learner.student)
    images = taught(learner)[0].student.pixels
    seen = encode_images(learner.student, images)[images[0].key].tokens_NH.detach()
    steps(learner)
    assert any("visual" in name and "lora_" in name for name in changed(learner.student, before))
    after = encode_images(learner.student, images)[images[0].key].tokens_NH.detach()
    assert not torch.allclose(after, seen, atol=1e-4)


@pytest.mark.parametrize("method", ["opsd", "vicur"])
def test_a_merged_student_computes_what_it_computed_and_loads_as_a_plain_folder(base, method, tmp_path):
    settings = {"method": method, "learning_rate": 0.01, "trained": {**LORA, "vision": True}}
    learner = learner_for(base, **settings)
    steps(learner, 3)
    with_adapters, at_first = logprobs(learner.student, learner), logprobs(load_model(base), learner)
    best = learner.processes.collect(trained_weights(learner.student))
    save_model(finished_student(learner, best, base), tmp_path / "student", chat_folder=base)
    loaded = load_model(tmp_path / "student")
    assert torch.allclose(logprobs(loaded, learner), with_adapters, atol=1e-5)
    assert not torch.allclose(with_adapters, at_first, atol=1e-2)
    assert not any("lora" in name or "base_layer" in name for name in loaded.state_dict())


def test_the_same_seed_gives_the_same_adapters_whatever_was_drawn_before(base):
    one = learner_for(base, method="opsd", trained=LORA)
    torch.rand(5)
    other = learner_for(base, method="opsd", trained=LORA)
    assert changed(other.student, weights(one.student)) == set()


def test_the_recovery_module_alone_is_trained_where_that_is_asked_for(base):
    learner = learner_for(base, method="vicur", trained={"type": "recovery"})
    before = weights(learner.student)
    steps(learner, 3)
    names = changed(learner.student, before)
    assert names
    assert all(name.startswith("model.cue_recovery") for name in names)


@pytest.mark.parametrize("trained", [LORA, {**LORA, "vision": True}, {"type": "recovery"}])
def test_a_student_with_its_adapters_off_scores_as_the_frozen_copy_does(base, trained):
    off = learner_for(base, method="vicur", teacher={"type": "self-adapter-off"}, trained=trained, learning_rate=0.01)
    frozen = learner_for(base, method="vicur", trained=trained, learning_rate=0.01)
    own, apart = steps(off, 3), steps(frozen, 3)
    with off.teacher.scoring():
        assert torch.allclose(logprobs(off.teacher.model, off), logprobs(load_model(base), off), atol=1e-6)
    assert not torch.allclose(logprobs(off.student, off), logprobs(load_model(base), off), atol=1e-3)
    for name in ("loss", "gap/whole", "gradient_norm", "entropy"):
        assert [step[name] for step in own] == pytest.approx([step[name] for step in apart], abs=1e-5)
    assert changed(off.student, weights(frozen.student)) <= {
        name for name, weight in weights(frozen.student).items() if weight.requires_grad is False
    }


def test_an_average_teacher_follows_the_student_by_its_decay(base):
    learner = learner_for(base, method="vicur", teacher={"type": "self-ema", "decay": 0.75})
    before = weights(learner.student)
    steps(learner, 1)
    student, teacher = weights(learner.student), weights(learner.teacher.model)
    assert changed(learner.student, before)
    for name, weight in teacher.items():
        assert torch.allclose(weight, 0.75 * before[name] + 0.25 * student[name], atol=1e-7), name


def test_an_average_teacher_goes_on_from_its_state_as_if_never_stopped(base):
    settings = {"method": "vicur", "teacher": {"type": "self-ema", "decay": 0.9}, "learning_rate": 0.01}
    learner, again = learner_for(base, **settings), learner_for(base, **settings)
    steps(learner, 2)
    state = learner.processes.collect(learner.extra_state())
    assert state.keys() == {name for name, weight in learner.student.named_parameters() if weight.requires_grad}
    restore(state, again.extra_state(), again.processes)
    assert changed(again.teacher.model, weights(learner.teacher.model)) == set()
    steps(learner, 1)
    assert changed(again.teacher.model, weights(learner.teacher.model))  # the state is a copy


OBJECTIVES = ["k1", "k3", "forward_kl", "reverse_kl", "jsd", "topk_forward_kl"]


@pytest.mark.parametrize(
    "settings",
    [*({"method": "vicur", "objective": {"type": o}} for o in OBJECTIVES), {"method": "grpo"}, {"method": "sft"}],
    ids=lambda s: f"{s['method']}-{s.get('objective', {}).get('type', 'own')}",
)
def test_loss_and_gradient_do_not_depend_on_how_a_batch_is_split(settings):
    found = []
    for size in (None, 3):
        learner = learner_for(SHIPPED, **settings, micro_batch_size=size, rollout={"max_new_tokens": 40})
        metrics = training_step(learner, taught(learner)[:4], 0)
        gradients = {n: w.grad.clone() for n, w in learner.student.named_parameters() if w.grad is not None}
        found.append((metrics, gradients))
    (whole, gradients), (parts, split) = found
    assert whole["gradient_norm"] > 0
    assert parts.keys() == whole.keys()
    for name in parts.keys() - {"tokens_per_second"}:
        if not name.startswith("seconds/"):
            assert parts[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-5), name
    assert split.keys() == gradients.keys()
    for name, gradient in split.items():
        assert torch.allclose(gradient, gradients[name], rtol=1e-3, atol=1e-6), name


def count_scorings(monkeypatch, learner):
    """Notes whose forward each scoring of responses is."""
    calls = []
    real = lesson_module.response_states

    def noted(model, *args, **more):
        calls.append("student" if model is learner.student else "teacher")
        return real(model, *args, **more)

    monkeypatch.setattr(lesson_module, "response_states", noted)
    return calls


@pytest.mark.parametrize(("updates", "calls"), [(1, ["teacher", "student"]), (3, ["teacher", *["student"] * 3])])
def test_no_forward_is_made_for_old_log_probs(base, monkeypatch, updates, calls):
    learner = learner_for(base, method="opsd", updates_per_batch=updates)
    made = count_scorings(monkeypatch, learner)
    steps(learner, 1)
    assert made == calls


def test_the_first_of_several_updates_is_the_only_update_of_a_batch(base):
    one, several = (learner_for(base, method="opsd", updates_per_batch=n, learning_rate=1e-12) for n in (1, 2))
    (alone,), (first,) = steps(one, 1), steps(several, 1)
    assert first["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-3)
    assert "clip/ratio" not in alone
    assert first["clip/ratio"] == 0


def test_later_updates_are_clipped_where_they_leave_what_was_sampled(base):
    learner = learner_for(base, method="opsd", updates_per_batch=4, learning_rate=0.01, warmup_steps=0)
    (metrics,) = steps(learner, 1)
    assert 0.1 < metrics["clip/ratio"] <= 1


def test_advantages_at_their_bound_are_counted(base):
    loose, tight = (
        learner_for(base, method="opsd", objective={"type": "k1", "clamp": clamp}) for clamp in (50.0, 1e-6)
    )
    assert steps(loose, 1)[0]["clip/advantage"] == 0
    assert steps(tight, 1)[0]["clip/advantage"] == 1


def test_groups_are_answered_together_and_told_apart_by_their_rewards():
    learner = learner_for(SHIPPED, method="grpo", rollout={"max_new_tokens": 40})
    rows = taught(learner)[:4]
    seen = learner.vision.of([pixels for row in rows for pixels in row.student.pixels])
    made = attempts_module.rollouts(learner, rows, seen.detached(), 0)
    assert [row.example.id for row in made.rows] == [row.example.id for row in rows for _ in range(5)]
    groups = made.advantages_B.view(4, 5)
    assert torch.allclose(groups.sum(-1), torch.zeros(4), atol=1e-5)
    told = made.tally.metrics()
    assert told["reward/mean"] == pytest.approx(told["rollout_accuracy"])
    texts = [response.text for response in made.sampled]
    assert any(len(set(texts[n * 5 : n * 5 + 5])) > 1 for n in range(4))


def test_a_batch_whose_groups_agree_changes_nothing(base):
    learner = learner_for(base, method="grpo")  # random weights: no response is right
    before = weights(learner.student)
    (metrics,) = steps(learner, 1)
    assert (metrics["reward/mean"], metrics["reward/groups_without_signal"]) == (0, 1)
    assert metrics["gradient_norm"] == 0
    assert changed(learner.student, before) == set()


def test_supervised_training_lowers_the_loss_of_the_references(base):
    learner = learner_for(base, method="sft", rollout={"max_new_tokens": 40}, learning_rate=3e-3, warmup_steps=0)
    rows = taught(learner)[:4]
    losses = [training_step(learner, rows, step)["loss"] for step in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    reference = learner.chat.encode_response(rows[0].example.metadata["reference"])
    assert rows[0].reference == tuple(reference)


def test_how_much_cue_recovery_adds_is_told_from_the_first_update_on(base):
    learner = learner_for(base, method="vicur", learning_rate=0.01, warmup_steps=0)
    first, second = steps(learner, 2)
    assert first["recovery/update_ratio"] == 0  # o_proj starts at zero
    assert 0 < second["recovery/update_ratio"] < 10
    assert "recovery/update_ratio" not in steps(learner_for(base, method="opsd"), 1)[0]
