"""Divergences from strips of two output layers against those from all logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modeling.output_layers import FORBIDDEN, RAGGED, VOCABULARY, WHOLE, drawn, layer
from vicur.modeling.divergence import weighted_divergence
from vicur.modeling.tiles import TileSizes

WEIGHTS = torch.linspace(0.0, 0.3, 13, dtype=torch.float64)


def chi_squared(_student_NV, teacher_NV, probability_NV):
    """sum_v (p - q)^2 / q, a divergence that nothing in the library knows, with its pull p (2 p / q)."""
    teacher_NV = teacher_NV.exp() + 1e-30
    return (probability_NV - teacher_NV) ** 2 / teacher_NV, 2 * probability_NV**2 / teacher_NV


def scores(student, teacher, sizes=RAGGED):
    targets = drawn(5, 13)
    return weighted_divergence(student.states(targets), teacher.states(targets), chi_squared, WEIGHTS, FORBIDDEN, sizes)


def pair(**more):
    return layer(0, **more), layer(1, hidden=6)


@pytest.mark.parametrize("sizes", [RAGGED, WHOLE, None])
def test_values_and_gradients_are_those_of_all_logits(sizes):
    student, teacher = pair()
    made = scores(student, teacher, sizes)
    wanted_N = chi_squared(student.logprobs(), teacher.logprobs().detach(), student.logprobs().exp())[0].sum(-1)
    assert torch.allclose(made.divergence_N, wanted_N, rtol=1e-12)
    wanted = (WEIGHTS * wanted_N).sum()
    assert torch.allclose(made.loss, wanted, rtol=1e-12)
    gradients = [torch.autograd.grad(3 * v, [student.hidden_NH, student.weight_VH]) for v in (made.loss, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_scores_beside_the_loss_are_those_of_the_sampled_tokens_and_have_no_gradient():
    student, teacher = pair()
    made = scores(student, teacher)
    targets = drawn(5, 13)[:, None]
    assert torch.allclose(made.student_N, student.logprobs().gather(1, targets)[:, 0], atol=1e-12)
    assert torch.allclose(made.teacher_N, teacher.logprobs().gather(1, targets)[:, 0], atol=1e-12)
    wanted = student.logprobs()
    assert torch.allclose(made.entropy_N, -(wanted.exp() * wanted).sum(-1), atol=1e-12)
    assert [v.requires_grad for v in (made.loss, made.divergence_N, made.student_N, made.teacher_N)] == [True] + 3 * [
        False
    ]


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 20), st.integers(5, 60), st.integers(0, 100))
def test_the_tiling_makes_no_difference(rows, vocabulary, seed):
    student, teacher = layer(seed), layer(seed + 1, hidden=6)
    found = []
    for sizes in (TileSizes(1, vocabulary, strip_bytes=rows * VOCABULARY * 8), WHOLE):
        made = scores(student, teacher, sizes)
        found.append((made.divergence_N, *torch.autograd.grad(made.loss, [student.hidden_NH, student.weight_VH])))
    for tiled, whole in zip(*found, strict=True):
        assert torch.allclose(tiled, whole, rtol=1e-9, atol=1e-9)


def test_the_teacher_gets_no_gradient():
    student, teacher = pair()
    scores(student, teacher).loss.backward()
    assert teacher.hidden_NH.grad is None
    assert teacher.weight_VH.grad is None


@pytest.mark.parametrize("frozen", ["hidden_NH", "weight_VH"])
def test_what_is_frozen_gets_no_gradient_and_the_other_keeps_its_own(frozen):
    student, teacher = pair()
    learns = student.weight_VH if frozen == "hidden_NH" else student.hidden_NH
    (wanted,) = torch.autograd.grad(scores(student, teacher).loss, learns)
    getattr(student, frozen).requires_grad_(False)
    scores(student, teacher).loss.backward()
    assert getattr(student, frozen).grad is None
    assert torch.allclose(learns.grad, wanted, rtol=1e-12)


def test_a_student_that_shares_its_weights_with_the_teacher_learns_as_if_they_were_a_copy():
    student, teacher = pair()[0], layer(2)
    shared = scores(student, type(teacher)(teacher.hidden_NH, student.weight_VH))
    copied = scores(student, type(teacher)(teacher.hidden_NH, student.weight_VH.detach().clone()))
    gradients = [torch.autograd.grad(made.loss, student.weight_VH)[0] for made in (shared, copied)]
    assert torch.equal(*gradients)


def test_without_gradients_there_is_a_loss_and_nothing_to_hand_over():
    student, teacher = pair()
    with torch.no_grad():
        made = scores(student, teacher)
    assert not made.loss.requires_grad
    assert torch.equal(made.loss, scores(student, teacher).loss.detach())


def test_gradients_are_handed_over_once():
    student, teacher = pair()
    loss = scores(student, teacher).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="handed over already"):
        loss.backward()


def test_low_precision_states_are_summed_in_float32():
    student, teacher = layer(0, dtype=torch.bfloat16), layer(1, hidden=6, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = scores(student, teacher)
    made.loss.backward()
    wanted_N = chi_squared(student.logprobs(), teacher.logprobs(), student.logprobs().exp())[0].sum(-1)
    assert made.divergence_N.dtype == torch.float32
    assert torch.allclose(made.divergence_N.double(), wanted_N, rtol=1e-4)
    (gradient,) = torch.autograd.grad((WEIGHTS * wanted_N).sum(), student.weight_VH)
    assert student.weight_VH.grad.dtype == torch.bfloat16
    assert torch.allclose(student.weight_VH.grad, gradient, rtol=2**-6, atol=2**-6 * gradient.abs().max().item())
