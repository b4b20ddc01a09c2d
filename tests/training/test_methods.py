"""Methods and settings: each trains the weights that it should and no others, and does not change a frozen teacher."""

import math

import pytest
import torch

from tests.training.factory import examples_for, state_for
from vicur.config.base import BaseModelConfig
from vicur.config.methods import METHODS
from vicur.config.training import TrainConfig
from vicur.modeling import load_model, save_model
from vicur.modeling.scoring import score_responses
from vicur.modeling.vision import encode_images
from vicur.training import batch as batch_module
from vicur.training.checkpoint import restore, trained_weights
from vicur.training.responses import rollouts
from vicur.training.state import final_student
from vicur.training.step import training_step

SHIPPED = BaseModelConfig().folder
LORA = {"type": "lora", "rank": 4, "alpha": 8}


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def changed(model, before):
    return {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}


def steps(state, count=2, rows=4):
    examples = examples_for(state)
    return [training_step(state, examples[n * rows : (n + 1) * rows], n) for n in range(count)]


@torch.no_grad()
def logprobs(model, state, prompts="student", count=4):
    """Return the log-probs of some replies, including padding."""
    rows = examples_for(state)[:count]
    replies = [state.chat.encode_response("Answer: 7")[: 1 + n % 3] for n in range(count)]
    batch = state.chat.collate([getattr(row, prompts) for row in rows], replies)
    forbidden = state.chat.forbidden_ids(model.config.text_config.vocab_size)
    return score_responses(model, batch, encode_images(model, batch.pixels), forbidden).logprobs_BR


@pytest.mark.parametrize("method", METHODS)
def test_method_trains_the_whole_student_and_not_its_teacher(base, method):
    # No response of random weights is correct, so grpo starts from the shipped base.
    long = {"rollout": {"max_new_tokens": 40}} if method in ("grpo", "sft") else {}
    state = state_for(SHIPPED if method == "grpo" else base, method=method, **long)
    student, teacher = weights(state.student), weights(state.teacher.model) if state.teacher else {}
    metrics = steps(state)
    assert all(math.isfinite(value) for step in metrics for value in step.values())
    names = changed(state.student, student)
    assert any(name.startswith("model.visual") for name in names)
    assert any(name.startswith("model.language_model") for name in names)
    assert any("cue_recovery" in name for name in names) == state.config.effective.recovery
    assert state.teacher is None or changed(state.teacher.model, teacher) == set()
    assert ("gap/whole" in metrics[0]) == (state.teacher is not None)


def test_setting_replaces_the_methods_own(base):
    state = state_for(base, method="opsd", privilege="rationale")
    row = examples_for(state)[0]
    prompt = state.chat.decode(row.teacher.ids)
    assert row.example.rationale in prompt
    assert f"Answer: {row.example.answer}" not in prompt
    assert state.config.effective == TrainConfig(method="opsd", privilege="rationale").effective
    assert state.config.effective.teacher.type == "self-frozen"


def test_settings_of_one_method_do_not_affect_another():
    shared = {"steps": 7, "per_method": {"grpo": {"steps": 9}, "sft": {"learning_rate": 1e-5}}}
    assert TrainConfig.model_validate({**shared, "method": "grpo"}).steps == 9
    assert TrainConfig.model_validate({**shared, "method": "opsd"}) == TrainConfig(method="opsd", steps=7)


def test_lora_trains_only_its_updates_and_the_recovery_module(base):
    state = state_for(base, method="vicur", trained=LORA)
    before = weights(state.student)
    steps(state)
    names = changed(state.student, before)
    assert names
    assert all("lora_" in name or "cue_recovery" in name for name in names)
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names if "lora_" in name} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip
    assert not any(name.startswith("model.visual") for name in names)


def test_lora_on_the_vision_tower_changes_the_features(base):
    state = state_for(base, method="opsd-cue", trained={**LORA, "vision": True}, learning_rate=0.01)
    before = weights(state.student)
    images = examples_for(state)[0].student.pixels
    before_features = encode_images(state.student, images)[images[0].key].tokens_NH.detach()
    steps(state)
    assert any("visual" in name and "lora_" in name for name in changed(state.student, before))
    after = encode_images(state.student, images)[images[0].key].tokens_NH.detach()
    assert not torch.allclose(after, before_features, atol=1e-4)


@pytest.mark.parametrize("method", ["opsd", "vicur"])
def test_merged_student_computes_the_same_and_loads_as_a_plain_folder(base, method, tmp_path):
    settings = {"method": method, "learning_rate": 0.01, "trained": {**LORA, "vision": True}}
    state = state_for(base, **settings)
    steps(state, 3)
    with_adapters, at_first = logprobs(state.student, state), logprobs(load_model(base), state)
    best = state.world.collect(trained_weights(state.student))
    save_model(final_student(state, best, base), tmp_path / "student", chat_folder=base)
    loaded = load_model(tmp_path / "student")
    assert torch.allclose(logprobs(loaded, state), with_adapters, atol=1e-5)
    assert not torch.allclose(with_adapters, at_first, atol=1e-2)
    assert not any("lora" in name or "base_layer" in name for name in loaded.state_dict())


def test_adapters_depend_on_the_seed_only(base):
    one = state_for(base, method="opsd", trained=LORA)
    torch.rand(5)
    other = state_for(base, method="opsd", trained=LORA)
    assert changed(other.student, weights(one.student)) == set()


def test_trained_recovery_trains_the_module_only(base):
    state = state_for(base, method="vicur", trained={"type": "recovery"})
    before = weights(state.student)
    steps(state, 3)
    names = changed(state.student, before)
    assert names
    assert all(name.startswith("model.cue_recovery") for name in names)


@pytest.mark.parametrize("trained", [LORA, {**LORA, "vision": True}, {"type": "recovery"}])
def test_adapter_off_teacher_scores_like_a_frozen_copy(base, trained):
    off = state_for(base, method="vicur", teacher={"type": "self-adapter-off"}, trained=trained, learning_rate=0.01)
    frozen = state_for(base, method="vicur", trained=trained, learning_rate=0.01)
    own, apart = steps(off, 3), steps(frozen, 3)
    with off.teacher.scoring():
        assert torch.allclose(logprobs(off.teacher.model, off), logprobs(load_model(base), off), atol=1e-6)
    assert not torch.allclose(logprobs(off.student, off), logprobs(load_model(base), off), atol=1e-3)
    for name in ("loss", "gap/whole", "gradient_norm", "entropy"):
        assert [step[name] for step in own] == pytest.approx([step[name] for step in apart], abs=1e-5)
    assert changed(off.student, weights(frozen.student)) <= {
        name for name, weight in weights(frozen.student).items() if weight.requires_grad is False
    }


def test_average_teacher_follows_the_student_by_its_decay(base):
    state = state_for(base, method="vicur", teacher={"type": "self-ema", "decay": 0.75})
    before = weights(state.student)
    steps(state, 1)
    student, teacher = weights(state.student), weights(state.teacher.model)
    assert changed(state.student, before)
    for name, weight in teacher.items():
        assert torch.allclose(weight, 0.75 * before[name] + 0.25 * student[name], atol=1e-7), name


def test_average_teacher_is_restored_from_its_state(base):
    settings = {"method": "vicur", "teacher": {"type": "self-ema", "decay": 0.9}, "learning_rate": 0.01}
    state, again = state_for(base, **settings), state_for(base, **settings)
    steps(state, 2)
    average = state.world.collect(state.extra_state())
    assert average.keys() == {name for name, weight in state.student.named_parameters() if weight.requires_grad}
    restore(average, again.extra_state(), again.world)
    assert changed(again.teacher.model, weights(state.teacher.model)) == set()
    steps(state, 1)
    assert changed(again.teacher.model, weights(state.teacher.model))  # the average was a copy


OBJECTIVES = ["k1", "k2", "k3", "abs", "mse", "forward_kl", "reverse_kl", "jsd", "topk_forward_kl"]


@pytest.mark.parametrize(
    "settings",
    [
        *({"method": "vicur", "objective": {"type": o}} for o in OBJECTIVES),
        {"method": "grpo"},
        {"method": "sft"},
        {"method": "sft", "loss_reduction": "token_mean"},
    ],
    ids=lambda s: f"{s['method']}-{s.get('objective', {}).get('type', 'own')}",
)
def test_loss_and_gradient_do_not_depend_on_the_micro_batch_size(settings):
    results = []
    for size in (None, 3):
        state = state_for(SHIPPED, **settings, micro_batch_size=size, rollout={"max_new_tokens": 40})
        metrics = training_step(state, examples_for(state)[:4], 0)
        gradients = {n: w.grad.clone() for n, w in state.student.named_parameters() if w.grad is not None}
        results.append((metrics, gradients))
    (whole, gradients), (parts, split) = results
    assert whole["gradient_norm"] > 0
    assert parts.keys() == whole.keys()
    for name in parts.keys() - {"tokens_per_second"}:
        if not name.startswith("seconds/"):
            assert parts[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-5), name
    assert split.keys() == gradients.keys()
    for name, gradient in split.items():
        assert torch.allclose(gradient, gradients[name], rtol=1e-3, atol=1e-6), name


def count_scorings(monkeypatch, state):
    """Record the model of each scoring of responses."""
    calls = []
    original = batch_module.response_states

    def record(model, *args, **more):
        calls.append("student" if model is state.student else "teacher")
        return original(model, *args, **more)

    monkeypatch.setattr(batch_module, "response_states", record)
    return calls


@pytest.mark.parametrize(("updates", "calls"), [(1, ["teacher", "student"]), (3, ["teacher", *["student"] * 3])])
def test_old_logprobs_need_no_forward(base, monkeypatch, updates, calls):
    state = state_for(base, method="opsd", updates_per_batch=updates)
    recorded = count_scorings(monkeypatch, state)
    steps(state, 1)
    assert recorded == calls


def test_first_of_several_updates_equals_a_single_update(base):
    one, several = (state_for(base, method="opsd", updates_per_batch=n, learning_rate=1e-12) for n in (1, 2))
    (alone,), (first,) = steps(one, 1), steps(several, 1)
    assert first["gradient_norm"] == pytest.approx(alone["gradient_norm"], rel=1e-3)
    assert "clip/ratio" not in alone
    assert first["clip/ratio"] == 0


def test_later_updates_are_clipped(base):
    state = state_for(base, method="opsd", updates_per_batch=4, learning_rate=0.01, warmup_steps=0)
    (metrics,) = steps(state, 1)
    assert 0.1 < metrics["clip/ratio"] <= 1


def test_share_of_clamped_advantages_is_logged(base):
    loose, tight = (state_for(base, method="opsd", objective={"type": "k1", "clamp": clamp}) for clamp in (50.0, 1e-6))
    assert steps(loose, 1)[0]["clip/advantage"] == 0
    assert steps(tight, 1)[0]["clip/advantage"] == 1


def test_groups_are_sampled_together_with_advantages_from_their_rewards():
    state = state_for(SHIPPED, method="grpo", rollout={"max_new_tokens": 40})
    rows = examples_for(state)[:4]
    features = state.vision.encode([pixels for row in rows for pixels in row.student.pixels])
    responses = rollouts(state, rows, features.detached(), 0)
    assert [row.example.id for row in responses.rows] == [row.example.id for row in rows for _ in range(5)]
    groups = responses.advantages_B.view(4, 5)
    assert torch.allclose(groups.sum(-1), torch.zeros(4), atol=1e-5)
    metrics = responses.metrics.compute()
    assert metrics["reward/mean"] == pytest.approx(metrics["rollout_accuracy"])
    texts = [response.text for response in responses.sampled]
    assert any(len(set(texts[n * 5 : n * 5 + 5])) > 1 for n in range(4))


def test_batch_with_equal_rewards_changes_nothing(base):
    state = state_for(base, method="grpo")  # random weights: no response is correct
    before = weights(state.student)
    (metrics,) = steps(state, 1)
    assert (metrics["reward/mean"], metrics["reward/groups_without_signal"]) == (0, 1)
    assert metrics["gradient_norm"] == 0
    assert changed(state.student, before) == set()


def test_supervised_training_lowers_the_loss_of_the_references(base):
    state = state_for(base, method="sft", rollout={"max_new_tokens": 40}, learning_rate=3e-3, warmup_steps=0)
    rows = examples_for(state)[:4]
    losses = [training_step(state, rows, step)["loss"] for step in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    reference = state.chat.encode_response(rows[0].example.metadata["reference"])
    assert rows[0].reference == tuple(reference)


def test_strength_of_cue_recovery_is_logged(base):
    state = state_for(base, method="vicur", learning_rate=0.01, warmup_steps=0)
    first, second = steps(state, 2)
    assert first["recovery/update_ratio"] == 0  # o_proj starts at zero
    assert 0 < second["recovery/update_ratio"] < 10
    assert "recovery/update_ratio" not in steps(state_for(base, method="opsd"), 1)[0]
