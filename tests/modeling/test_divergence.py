"""Divergences computed in strips, compared with those from all logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modeling.output_layers import FORBIDDEN, RAGGED, VOCABULARY, WHOLE, layer, sampled_ids
from vicur.modeling.divergence import weighted_divergence
from vicur.modeling.tiles import TileSizes

WEIGHTS = torch.linspace(0.0, 0.3, 13, dtype=torch.float64)


def chi_squared(_student_NV, teacher_NV, probability_NV):
    """sum_v (p - q)^2 / q, a divergence that is not in the library, and p dD/dp = p (2 p / q)."""
    teacher_NV = teacher_NV.exp() + 1e-30
    return (probability_NV - teacher_NV) ** 2 / teacher_NV, 2 * probability_NV**2 / teacher_NV


def scores(student, teacher, sizes=RAGGED):
    targets = sampled_ids(5, 13)
    return weighted_divergence(student.states(targets), teacher.states(targets), chi_squared, WEIGHTS, FORBIDDEN, sizes)


def pair(**more):
    return layer(0, **more), layer(1, hidden=6)


@pytest.mark.parametrize("sizes", [RAGGED, WHOLE, None])
def test_values_and_gradients_equal_those_from_all_logits(sizes):
    student, teacher = pair()
    made = scores(student, teacher, sizes)
    expected_N = chi_squared(student.logprobs(), teacher.logprobs().detach(), student.logprobs().exp())[0].sum(-1)
    assert torch.allclose(made.divergence_N, expected_N, rtol=1e-12)
    expected = (WEIGHTS * expected_N).sum()
    assert torch.allclose(made.loss, expected, rtol=1e-12)
    gradients = [torch.autograd.grad(3 * v, [student.hidden_NH, student.weight_VH]) for v in (made.loss, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_scores_of_the_sampled_tokens_have_no_gradient():
    student, teacher = pair()
    made = scores(student, teacher)
    targets = sampled_ids(5, 13)[:, None]
    assert torch.allclose(made.student_N, student.logprobs().gather(1, targets)[:, 0], atol=1e-12)
    assert torch.allclose(made.teacher_N, teacher.logprobs().gather(1, targets)[:, 0], atol=1e-12)
    expected = student.logprobs()
    assert torch.allclose(made.entropy_N, -(expected.exp() * expected).sum(-1), atol=1e-12)
    assert [v.requires_grad for v in (made.loss, made.divergence_N, made.student_N, made.teacher_N)] == [True] + 3 * [
        False
    ]


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 20), st.integers(5, 60), st.integers(0, 100))
def test_tile_sizes_do_not_change_the_result(rows, vocabulary, seed):
    student, teacher = layer(seed), layer(seed + 1, hidden=6)
    results = []
    for sizes in (TileSizes(1, vocabulary, strip_bytes=rows * VOCABULARY * 8), WHOLE):
        made = scores(student, teacher, sizes)
        results.append((made.divergence_N, *torch.autograd.grad(made.loss, [student.hidden_NH, student.weight_VH])))
    for tiled, whole in zip(*results, strict=True):
        assert torch.allclose(tiled, whole, rtol=1e-9, atol=1e-9)


def test_the_teacher_gets_no_gradient():
    student, teacher = pair()
    scores(student, teacher).loss.backward()
    assert teacher.hidden_NH.grad is None
    assert teacher.weight_VH.grad is None


@pytest.mark.parametrize("frozen", ["hidden_NH", "weight_VH"])
def test_a_frozen_operand_gets_no_gradient_and_does_not_change_the_other(frozen):
    student, teacher = pair()
    trainable = student.weight_VH if frozen == "hidden_NH" else student.hidden_NH
    (expected,) = torch.autograd.grad(scores(student, teacher).loss, trainable)
    getattr(student, frozen).requires_grad_(False)
    scores(student, teacher).loss.backward()
    assert getattr(student, frozen).grad is None
    assert torch.allclose(trainable.grad, expected, rtol=1e-12)


def test_sharing_weights_with_the_teacher_does_not_change_the_gradient():
    student, teacher = pair()[0], layer(2)
    shared = scores(student, type(teacher)(teacher.hidden_NH, student.weight_VH))
    copied = scores(student, type(teacher)(teacher.hidden_NH, student.weight_VH.detach().clone()))
    gradients = [torch.autograd.grad(made.loss, student.weight_VH)[0] for made in (shared, copied)]
    assert torch.equal(*gradients)


def test_no_grad_gives_the_same_loss_without_a_graph():
    student, teacher = pair()
    with torch.no_grad():
        made = scores(student, teacher)
    assert not made.loss.requires_grad
    assert torch.equal(made.loss, scores(student, teacher).loss.detach())


def test_a_second_backward_is_rejected():
    student, teacher = pair()
    loss = scores(student, teacher).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already used"):
        loss.backward()


def test_low_precision_states_are_accumulated_in_float32():
    student, teacher = layer(0, dtype=torch.bfloat16), layer(1, hidden=6, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = scores(student, teacher)
    made.loss.backward()
    expected_N = chi_squared(student.logprobs(), teacher.logprobs(), student.logprobs().exp())[0].sum(-1)
    assert made.divergence_N.dtype == torch.float32
    assert torch.allclose(made.divergence_N.double(), expected_N, rtol=1e-4)
    (gradient,) = torch.autograd.grad((WEIGHTS * expected_N).sum(), student.weight_VH)
    assert student.weight_VH.grad.dtype == torch.bfloat16
    assert torch.allclose(student.weight_VH.grad, gradient, rtol=2**-6, atol=2**-6 * gradient.abs().max().item())
