"""A distillation step: one distribution for all scores, each image encoded once, a frozen teacher."""

from contextlib import contextmanager

import pytest
import torch

from tests.training.factory import examples_for, save_random_base, state_for
from vicur.config.methods import METHODS
from vicur.modeling.generation import generate
from vicur.modeling.scoring import score_responses
from vicur.modeling.vision import encode_images
from vicur.training import batch as batch_module
from vicur.training.batch import ScoredBatch
from vicur.training.checkpoint import trained_weights
from vicur.training.health import require_healthy
from vicur.training.metrics import Metrics, PhaseTimer
from vicur.training.responses import Responses
from vicur.training.step import training_step
from vicur.training.trainer import Validation


@contextmanager
def encoded_images(state):
    """Record the tower, student or teacher, of each image encoded inside the block."""
    calls = []

    def counter(name):
        return lambda _module, _args, kwargs, _out: calls.extend([name] * len(kwargs["grid_thw"]))

    towers = {"student": state.student.model.visual, "teacher": state.teacher.model.model.visual}
    hooks = [tower.register_forward_hook(counter(name), with_kwargs=True) for name, tower in towers.items()]
    yield calls
    for hook in hooks:
        hook.remove()


@contextmanager
def features_of_teacher(monkeypatch, state):
    """Record the features that the teacher scores with inside the block."""
    seen, original = [], batch_module.response_states

    def record(model, batch, features):
        if model is state.teacher.model:
            seen.append(features)
        return original(model, batch, features)

    with monkeypatch.context() as patch:
        patch.setattr(batch_module, "response_states", record)
        yield seen


@pytest.mark.parametrize("method", [m for m in METHODS if m != "sft"])
def test_rollout_and_training_forward_give_the_same_logprobs(base, method):
    state = state_for(base, method=method)
    rows = examples_for(state)[:6]
    training_step(state, rows, 0)  # before it, the module adds zero
    answers = generate(state.student, state.chat, [row.student for row in rows], state.config.rollout, seed=1)
    batch = state.chat.collate([row.student for row in rows], [a.ids for a in answers])
    forbidden = state.chat.forbidden_ids(state.student.config.text_config.vocab_size)
    features = encode_images(state.student, batch.pixels)
    scored = score_responses(state.student, batch, features, forbidden).logprobs_BR
    for answer, row in zip(answers, scored, strict=True):
        assert answer.logprobs == pytest.approx(row[: len(answer.ids)].tolist(), abs=2e-5)


@pytest.mark.parametrize("method", ["opsd", "vicur"])
def test_scores_do_not_depend_on_the_rest_of_the_batch(base, method):
    state = state_for(base, method=method)
    rows = examples_for(state)[:5]
    training_step(state, rows, 0)
    replies = [state.chat.encode_response("Answer: 7")[: 1 + n] for n in range(4)] + [[state.chat.end_id]]
    forbidden = state.chat.forbidden_ids(state.student.config.text_config.vocab_size)

    def score(prompts, responses):
        batch = state.chat.collate(prompts, responses)
        return score_responses(state.student, batch, encode_images(state.student, batch.pixels), forbidden).logprobs_BR

    together = score([row.teacher if n % 2 else row.student for n, row in enumerate(rows)], replies)
    for n, (row, reply) in enumerate(zip(rows, replies, strict=True)):
        alone = score([row.teacher if n % 2 else row.student], [reply])
        assert alone[0].tolist() == pytest.approx(together[n, : len(reply)].tolist(), abs=1e-5)


def test_frozen_tower_encodes_each_image_once_a_run(base):
    state = state_for(base, method="vicur", trained={"type": "full", "vision": False})
    rows = examples_for(state)
    before = {n: p.clone() for n, p in state.student.model.visual.named_parameters()}
    prompts = [row.student for row in rows]
    validation = Validation([row.example for row in rows], prompts)
    with encoded_images(state) as calls:
        for number in range(3):
            training_step(state, rows[4 * number : 4 * number + 8], number)
            validation.accuracy(state)
    assert calls == ["student"] * len({image.key for prompt in prompts for image in prompt.pixels})
    assert all(torch.equal(p, before[n]) for n, p in state.student.model.visual.named_parameters())


def test_resumed_run_finds_cached_features_of_a_frozen_tower(base, tmp_path):
    settings = {"method": "opsd", "trained": {"type": "full", "vision": False}}
    rows = examples_for(state_for(base, **settings))[:6]
    training_step(state_for(base, work=tmp_path, **settings), rows, 0)
    again = state_for(base, work=tmp_path, **settings)
    with encoded_images(again) as calls:
        training_step(again, rows, 0)
    assert calls == []


def test_teacher_scores_with_features_of_its_own_tower(base, monkeypatch):
    state = state_for(base, method="opsd", learning_rate=0.05)
    rows = examples_for(state)[:4]
    with features_of_teacher(monkeypatch, state) as seen:
        for number in range(2):
            training_step(state, rows, number)
    own = encode_images(state.teacher.model, rows[0].teacher.pixels)
    drifted = encode_images(state.student, rows[0].student.pixels)
    (key,) = own
    assert torch.allclose(seen[-1][key].tokens_NH, own[key].tokens_NH, atol=1e-5)
    assert not torch.allclose(drifted[key].tokens_NH, own[key].tokens_NH, atol=1e-3)


def test_other_checkpoint_uses_its_own_tower_if_both_are_frozen_and_share_a_cache_folder(base, monkeypatch, tmp_path):
    other = save_random_base(tmp_path / "other", seed=1)
    state = state_for(
        base,
        work=tmp_path,
        method="opd",
        teacher={"type": "checkpoint", "path": other},
        trained={"type": "full", "vision": False},
    )
    rows = examples_for(state)[:4]
    with features_of_teacher(monkeypatch, state) as seen:
        for number in range(2):
            training_step(state, rows, number)
    own = encode_images(state.teacher.model, rows[0].teacher.pixels)
    students = encode_images(state.student, rows[0].student.pixels)
    (key,) = own
    for features in seen:
        assert torch.allclose(features[key].tokens_NH, own[key].tokens_NH, atol=1e-5)
        assert not torch.allclose(features[key].tokens_NH, students[key].tokens_NH, atol=1e-3)


def test_placeholders_and_control_tokens_are_never_sampled(base):
    state = state_for(base, method="opsd", rollout={"max_new_tokens": 12})
    forbidden = state.chat.forbidden_ids(state.student.config.text_config.vocab_size)
    embedding = state.student.get_input_embeddings().weight
    with torch.no_grad():
        embedding[forbidden] = 50 * embedding[forbidden]
    answers = generate(
        state.student, state.chat, [r.student for r in examples_for(state)], state.config.rollout, seed=0
    )
    assert not set(forbidden.tolist()) & {token for answer in answers for token in answer.ids}
    assert state.chat.image_id in forbidden


def test_step_returns_the_metrics_of_the_paper(base):
    state = state_for(base, method="opsd")
    metrics = training_step(state, examples_for(state)[:4], 0)
    expected = {
        "gap/whole",
        "gap/half_1",
        "gap/half_2",
        "gap/quarter_1",
        "gap/quarter_4",
        "leakage/samples",
        "leakage/occurrences",
    }
    expected |= {
        "entropy",
        "response_tokens",
        "rollout_accuracy",
        "tokens_per_second",
        "seconds/rollout",
        "seconds/teacher",
        "loss",
    }
    assert expected <= set(metrics)
    assert all(value == value for value in metrics.values())


def test_loss_that_is_not_finite_raises_before_the_weights_change(base):
    state = state_for(base, method="opsd")
    with torch.no_grad():
        state.teacher.model.model.language_model.norm.weight.fill_(float("nan"))
    before = state.world.collect(trained_weights(state.student))
    with pytest.raises(FloatingPointError, match="nan"):
        training_step(state, examples_for(state)[:4], 0)
    assert all(torch.equal(w, before[n]) for n, w in trained_weights(state.student).items())


@pytest.mark.parametrize("method", ["vicur", "grpo"])
def test_rollout_of_broken_weights_raises_before_the_weights_change(base, method):
    state = state_for(base, method=method)
    with torch.no_grad():
        state.student.model.language_model.norm.weight[0] = float("nan")
    before = state.world.collect(trained_weights(state.student))
    with pytest.raises(FloatingPointError, match="not finite"):
        training_step(state, examples_for(state)[:4], 0)
    assert all(torch.equal(w, before[n]) or w.isnan().any() for n, w in trained_weights(state.student).items())
    assert not state.optimizer.state


def test_healthy_state_is_told_from_broken_weights_and_moments(base):
    state = state_for(base, method="opsd", learning_rate=1e-3)
    rows = examples_for(state)[:4]
    training_step(state, rows, 0)
    require_healthy(state, rows)
    moments = next(iter(state.optimizer.state.values()))
    moments["exp_avg_sq"][0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"exp_avg_sq of .* is not finite after the update"):
        require_healthy(state, rows)
    moments["exp_avg_sq"][0] = 0.0
    with torch.no_grad():
        state.student.model.language_model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"weight .*layers\.0\.mlp\.up_proj"):
        require_healthy(state, rows)


def test_weight_decay_spares_norms_and_biases(base):
    state = state_for(base, method="vicur", weight_decay=0.1, trained={"type": "full", "vision": True})
    decays = {id(w): g["weight_decay"] for g in state.optimizer.param_groups for w in g["params"]}
    names = {name: decays[id(w)] for name, w in state.student.named_parameters()}
    assert len(decays) == len(names)
    assert {name for name, decay in names.items() if not decay} == {n for n in names if "norm" in n or "bias" in n}
    training_step(state, examples_for(state)[:2], 0)


def test_micro_batches_contain_responses_of_similar_length(base):
    state = state_for(base, method="opsd", micro_batch_size=2)
    rows = examples_for(state)[:6]
    responses = Responses(rows, [(1,) * n for n in (2, 9, 1, 8, 3, 7)], [], torch.arange(6.0), Metrics())
    ordered = ScoredBatch(state, responses, {}, PhaseTimer()).responses
    lengths = [len(row.student.ids) + len(ids) for row, ids in zip(ordered.rows, ordered.ids, strict=True)]
    assert lengths == sorted(lengths, reverse=True)
    for row, ids, advantage in zip(ordered.rows, ordered.ids, ordered.advantages_B.tolist(), strict=True):
        assert rows[int(advantage)].example is row.example
        assert responses.ids[int(advantage)] == ids
    whole = state_for(base, method="opsd")
    assert ScoredBatch(whole, responses, {}, PhaseTimer()).responses is responses
