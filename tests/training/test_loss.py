"""The loss of every objective against float64 autograd over all logits, for any split, packing or padding of a batch."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modeling.output_layers import ALLOWED, FORBIDDEN, layer, sampled_ids
from vicur.config.objective import K1, K2, K3, Abs, ForwardKl, Grpo, Jsd, Mse, ReverseKl, Supervised, TopkForwardKl
from vicur.errors import VicurError
from vicur.modeling.scoring import ResponseStates
from vicur.training.batch import SamplerLogprobs, objective_loss, teacher_scores
from vicur.training.objectives import equal_token_weights, token_weights, truncated_ratios

LENGTHS = (4, 0, 2, 6, 1)
TOKENS = sum(LENGTHS)
ADVANTAGES = torch.tensor([0.5, -1.0, 2.0, -0.3, 1.1], dtype=torch.float64)


def kl(first, second):
    return (first.exp() * (first - second)).sum(-1)


def jsd(student, teacher, beta):
    mixed = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
    return beta * kl(teacher, mixed) + (1 - beta) * kl(student, mixed)


def topk(student, teacher, k):
    top = teacher.topk(k).indices
    pairs = []
    for logprobs in (teacher, student):
        outside = logprobs.exp().scatter(1, top, 0.0).sum(-1, keepdim=True).log()
        pairs.append(torch.cat([logprobs.gather(1, top), outside], dim=1))
    return kl(*pairs)


@dataclass(frozen=True)
class At:
    """Scores of the tokens: all log-probabilities of student and teacher, those of the sampled token, the response's advantage."""

    student: torch.Tensor
    teacher: torch.Tensor
    s: torch.Tensor
    t: torch.Tensor
    advantage: torch.Tensor


# Each objective with its value at a token, written out.
OBJECTIVES = {
    "k1": (K1(clamp=2.0), lambda at: -(at.t - at.s).detach().clamp(-2, 2) * at.s),
    "k2": (K2(), lambda at: (at.t - at.s) ** 2 / 2),
    "abs": (Abs(), lambda at: torch.where(at.s > at.t, at.s - at.t, at.t - at.s)),
    "mse": (Mse(), lambda at: 0.5 * (at.s - at.t).square()),
    "k3": (K3(clamp=3.0), lambda at: (at.t - at.s).clamp(-3, 3).exp() - 1 - (at.t - at.s).clamp(-3, 3)),
    "forward_kl": (ForwardKl(), lambda at: kl(at.teacher, at.student)),
    "reverse_kl": (ReverseKl(), lambda at: kl(at.student, at.teacher)),
    "jsd": (Jsd(beta=0.3), lambda at: jsd(at.student, at.teacher, 0.3)),
    "topk_forward_kl": (TopkForwardKl(k=5), lambda at: topk(at.student, at.teacher, 5)),
    "grpo": (Grpo(), lambda at: -at.advantage * at.s),
    "supervised": (Supervised(), lambda at: -at.s),
}
DISTILLS = [name for name in OBJECTIVES if name not in ("grpo", "supervised")]


def mask_of(lengths, padding=0):
    return torch.arange(max(lengths) + padding)[None] < torch.tensor(lengths)[:, None]


def states_of(made, mask):
    return ResponseStates(made.hidden_NH, sampled_ids(9, TOKENS), mask, made.weight_VH)


def rows_of(states, rows):
    """Some responses of a batch, as a micro-batch of their own."""
    tokens = torch.zeros_like(states.mask_BR)
    tokens[rows] = True
    tokens_N = tokens[states.mask_BR]
    mask_BR = states.mask_BR[rows]
    mask_BR = mask_BR[:, : int(mask_BR.sum(-1).max())]
    return ResponseStates(states.hidden_NH[tokens_N], states.targets_N[tokens_N], mask_BR, states.head_VH)


def loss_of(name, student, teacher, rows=slice(None), weights_BR=None):
    """The loss of some rows of the batch."""
    objective = OBJECTIVES[name][0]
    return objective_loss(
        objective,
        student,
        token_weights(student.mask_BR, len(LENGTHS)) if weights_BR is None else weights_BR,
        FORBIDDEN,
        teacher=teacher_scores(objective, teacher, FORBIDDEN) if name in DISTILLS else None,
        advantages_B=ADVANTAGES[rows],
    )


def gradients(value, made):
    return torch.autograd.grad(value, [made.hidden_NH, made.weight_VH], retain_graph=True)


def pair(seed=0):
    return layer(seed, TOKENS), layer(seed + 1, TOKENS, hidden=6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_equal_float64_autograd_over_all_logits(name):
    student, teacher = pair()
    mask = mask_of(LENGTHS)
    made = loss_of(name, states_of(student, mask), states_of(teacher, mask))
    targets = sampled_ids(9, TOKENS)[:, None]
    all_student, all_teacher = student.logprobs(), teacher.logprobs().detach()
    s, t = (logprobs.gather(1, targets)[:, 0] for logprobs in (all_student, all_teacher))
    advantages = ADVANTAGES[:, None].expand(mask.shape)[mask]
    terms = OBJECTIVES[name][1](At(all_student[:, ALLOWED], all_teacher[:, ALLOWED], s, t, advantages))
    wanted = sum(part.mean() for part in terms.split(LENGTHS) if len(part)) / len(LENGTHS)
    assert made.value.item() == pytest.approx(wanted.item(), abs=1e-6)
    for ours, theirs in zip(gradients(made.value, student), gradients(wanted, student), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_float32_is_close_to_float64(name):
    results = []
    for dtype in (torch.float32, torch.float64):
        student, teacher = layer(0, TOKENS, dtype=dtype), layer(1, TOKENS, hidden=6, dtype=dtype)
        mask = mask_of(LENGTHS)
        made = loss_of(name, states_of(student, mask), states_of(teacher, mask))
        results.append([made.value, *gradients(made.value, student)])
    for single, double in zip(*results, strict=True):
        assert torch.allclose(single.double(), double, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_scores_are_padded_like_the_batch(name):
    student, teacher = pair()
    mask = mask_of(LENGTHS, padding=2)
    made = loss_of(name, states_of(student, mask), states_of(teacher, mask))
    wanted = student.logprobs().gather(1, sampled_ids(9, TOKENS)[:, None])[:, 0]
    assert torch.allclose(made.student_BR[mask], wanted, atol=1e-12)
    assert not made.student_BR[~mask].any()
    assert not made.student_BR.requires_grad
    assert (made.teacher_BR is None) == (name not in DISTILLS)
    assert made.entropy_BR.shape == mask.shape


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(list(OBJECTIVES)), st.integers(1, 4), st.integers(0, 3), st.integers(0, 100))
def test_micro_batches_add_up_to_the_loss_and_gradient_of_their_batch(name, size, padding, seed):
    student, teacher = pair(seed)
    mask = mask_of(LENGTHS, padding)
    states = states_of(student, mask), states_of(teacher, mask)
    whole = loss_of(name, *states).value
    parts = [slice(start, start + size) for start in range(0, len(LENGTHS), size)]
    total = sum(loss_of(name, *(rows_of(s, part) for s in states), rows=part).value for part in parts)
    assert total.item() == pytest.approx(whole.item(), abs=1e-9)
    for ours, theirs in zip(gradients(total, student), gradients(whole, student), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mean_over_tokens_of_micro_batches_equals_float64_autograd_over_all_logits(name):
    student, teacher = pair()
    mask = mask_of(LENGTHS, padding=1)
    states = states_of(student, mask), states_of(teacher, mask)
    parts = [slice(start, start + 2) for start in range(0, len(LENGTHS), 2)]
    total = 0.0
    for part in parts:
        rows = [rows_of(s, part) for s in states]
        total = total + loss_of(name, *rows, rows=part, weights_BR=equal_token_weights(rows[0].mask_BR, TOKENS)).value
    targets = sampled_ids(9, TOKENS)[:, None]
    all_student, all_teacher = student.logprobs(), teacher.logprobs().detach()
    s, t = (logprobs.gather(1, targets)[:, 0] for logprobs in (all_student, all_teacher))
    advantages = ADVANTAGES[:, None].expand(mask.shape)[mask]
    wanted = OBJECTIVES[name][1](At(all_student[:, ALLOWED], all_teacher[:, ALLOWED], s, t, advantages)).mean()
    assert total.item() == pytest.approx(wanted.item(), abs=1e-6)
    for ours, theirs in zip(gradients(total, student), gradients(wanted, student), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "grpo"])
def test_packing_does_not_change_loss_or_gradient(name):
    student, teacher = pair()
    mask = mask_of(LENGTHS)
    padded = loss_of(name, states_of(student, mask), states_of(teacher, mask)).value
    row = torch.ones(1, TOKENS, dtype=torch.bool)
    weights = token_weights(mask)[mask][None]
    packed = loss_of(name, states_of(student, row), states_of(teacher, row), weights_BR=weights).value
    assert packed.item() == pytest.approx(padded.item(), abs=1e-12)
    for ours, theirs in zip(gradients(packed, student), gradients(padded, student), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("name", DISTILLS)
def test_student_equal_to_its_teacher_has_no_gradient(name):
    student = layer(0, TOKENS)
    states = states_of(student, mask_of(LENGTHS))
    made = loss_of(name, states, replace(states, hidden_NH=student.hidden_NH.detach()))
    assert made.value.item() == pytest.approx(0, abs=1e-12)
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients(made.value, student))


def test_later_updates_use_the_logprobs_that_sampled():
    student, teacher = pair()
    mask = mask_of(LENGTHS)
    states, scores = states_of(student, mask), teacher_scores(K1(), states_of(teacher, mask), FORBIDDEN)
    first = loss_of("k1", states, states_of(teacher, mask))
    old_BR = first.student_BR - 1.0  # every token is now more likely by a factor of e
    made = objective_loss(K1(clip=0.2), states, token_weights(mask), FORBIDDEN, teacher=scores, old_BR=old_BR)
    advantages = (scores.logprobs_N - old_BR[mask]).clamp(-10, 10)
    terms = -torch.minimum(torch.e * advantages, 1.2 * advantages)
    assert made.value.item() == pytest.approx((terms * token_weights(mask)[mask]).sum().item())
    assert made.metrics["clip/ratio"] == pytest.approx((advantages > 0).double().mean().item())


def test_more_top_tokens_than_the_vocabulary_are_rejected():
    _, teacher = pair()
    with pytest.raises(VicurError, match="use forward_kl"):
        teacher_scores(TopkForwardKl(k=1000), states_of(teacher, mask_of(LENGTHS)), FORBIDDEN)


@pytest.mark.parametrize("name", ["k1", "k2", "k3", "abs", "mse", "grpo"])
def test_tokens_of_another_sampler_are_weighted_by_the_capped_ratio(name):
    student, teacher = pair()
    mask = mask_of(LENGTHS)
    states = states_of(student, mask)
    plain = loss_of(name, states, states_of(teacher, mask))
    # The engine's probabilities range from e times the trainer's to 1/e of them.
    gap_BR = torch.linspace(-1, 1, mask.numel(), dtype=torch.float64).view(mask.shape)
    engine_BR = plain.student_BR - gap_BR
    objective = OBJECTIVES[name][0]
    made = objective_loss(
        objective,
        states,
        token_weights(mask),
        FORBIDDEN,
        teacher=teacher_scores(objective, states_of(teacher, mask), FORBIDDEN) if name in DISTILLS else None,
        advantages_B=ADVANTAGES,
        sampler=SamplerLogprobs(engine_BR, cap=1.5),
    )
    ratios_N = gap_BR.exp().clamp(max=1.5)[mask]
    all_student, all_teacher = student.logprobs(), teacher.logprobs().detach()
    s, t = (logprobs.gather(1, sampled_ids(9, TOKENS)[:, None])[:, 0] for logprobs in (all_student, all_teacher))
    advantages = ADVANTAGES[:, None].expand(mask.shape)[mask]
    terms = ratios_N * OBJECTIVES[name][1](At(all_student, all_teacher, s, t, advantages))
    wanted = sum(part.mean() for part in terms.split(LENGTHS) if len(part)) / len(LENGTHS)
    assert made.value.item() == pytest.approx(wanted.item(), abs=1e-6)
    for ours, theirs in zip(gradients(made.value, student), gradients(wanted, student), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
    assert made.metrics["rollout/importance"] == pytest.approx(ratios_N.mean().item())
    assert made.metrics["rollout/truncated_share"] == pytest.approx((ratios_N >= 1.5).double().mean().item())


def test_importance_weights_give_the_trainers_expected_gradient():
    """The expectation over the engine's tokens, weighted by the ratio, has the gradient of the expectation over the trainer's."""
    made = layer(0, 1)
    trainer_V = made.logprobs()[0]
    engine_V = layer(5, 1).logprobs()[0].detach()
    gains_V = torch.linspace(-1, 1, len(ALLOWED), dtype=torch.float64)
    ratios_V = truncated_ratios(trainer_V[ALLOWED], engine_V[ALLOWED], cap=1e9)
    terms_V = ratios_V * gains_V * trainer_V[ALLOWED]
    (ours,) = torch.autograd.grad((engine_V[ALLOWED].exp() * terms_V).sum(), made.hidden_NH, retain_graph=True)
    (theirs,) = torch.autograd.grad((trainer_V[ALLOWED].exp() * gains_V).sum(), made.hidden_NH)
    assert torch.allclose(ours, theirs, atol=1e-10)
    assert not ratios_V.requires_grad


def test_first_update_on_an_external_engines_tokens_uses_the_trainers_logprobs():
    student, teacher = pair()
    mask = mask_of(LENGTHS)
    states, scores = states_of(student, mask), teacher_scores(K1(), states_of(teacher, mask), FORBIDDEN)
    plain = objective_loss(K1(), states, token_weights(mask), FORBIDDEN, teacher=scores)
    first = objective_loss(K1(), states, token_weights(mask), FORBIDDEN, teacher=scores, clipped=True)
    for ours, theirs in zip(gradients(first.value, student), gradients(plain.value, student), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
    assert first.metrics["clip/ratio"] == 0
