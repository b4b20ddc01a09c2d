"""Objectives of sampled tokens against formulas written out by hand, and against autograd over the whole distribution."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vicur.training.objectives import (
    abs_loss,
    advantages,
    clipped_policy_loss,
    clipped_share,
    forward_kl,
    group_advantages,
    k1_loss,
    k2_loss,
    k3_loss,
    mse_loss,
    reverse_kl,
    token_weights,
)

SCORES = st.lists(st.floats(-9, 0), min_size=1, max_size=6)


def doubles(*values, **more):
    return torch.tensor(values, dtype=torch.float64, **more)


def test_advantages_are_clamped_teacher_minus_student_without_gradient():
    student = doubles(-1.0, -30.0, -2.0, requires_grad=True)
    made = advantages(doubles(-0.5, -1.0, -25.0), student, clamp=10.0)
    assert made.tolist() == [0.5, 10.0, -10.0]
    assert not made.requires_grad


def test_k1_weights_logprobs_by_advantages():
    student = doubles(-1.0, -2.0, -4.0, requires_grad=True)
    loss = k1_loss(doubles(1.0, -3.0, 0.5), student, doubles(0.25, 0.25, 0.5))
    assert loss.item() == pytest.approx(-(0.25 * -1.0 + 0.25 * 6.0 + 0.5 * -2.0))
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.tolist() == [-0.25, 0.75, -0.25]


def test_clipped_loss_has_the_gradient_of_k1_on_policy():
    student = doubles(-1.0, -2.0, -4.0, requires_grad=True)
    arguments = doubles(1.0, -3.0, 0.5), student, doubles(0.2, 0.3, 0.5)
    (plain,) = torch.autograd.grad(k1_loss(*arguments), student)
    (clipped,) = torch.autograd.grad(clipped_policy_loss(*arguments, old=student.detach(), clip=0.2), student)
    assert torch.equal(plain, clipped)


@pytest.mark.parametrize(
    ("advantage", "ratio", "surrogate", "moves"),
    [
        (2.0, 1.1, 2.2, True),
        (2.0, 1.5, 2.4, False),  # already more likely, and good
        (2.0, 0.5, 1.0, True),
        (-2.0, 0.9, -1.8, True),
        (-2.0, 0.5, -1.6, False),  # already less likely, and bad
        (-2.0, 1.5, -3.0, True),
    ],
)
def test_ratio_is_clipped_beyond_the_range_in_the_direction_of_the_advantage(advantage, ratio, surrogate, moves):
    student = doubles(ratio).log() - 3.0
    student.requires_grad_()
    loss = clipped_policy_loss(doubles(advantage), student, doubles(1.0), old=doubles(-3.0), clip=0.2)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(-surrogate)
    assert gradient.item() == pytest.approx(-surrogate if moves else 0.0)
    assert clipped_share(doubles(advantage), student, old=doubles(-3.0), clip=0.2).item() == (not moves)


@pytest.mark.parametrize("estimate", ["k1", "k2", "k3"])
def test_expected_gradient_is_that_of_a_kl_divergence(estimate):
    """The expectation over sampled tokens: k1 and k2 have the gradient of the reverse KL, k3 that of the forward KL."""
    logits = doubles(0.4, -0.3, 0.1, -1.0, requires_grad=True)
    teacher = doubles(0.2, 0.5, -0.7, 0.3).log_softmax(-1)
    divergence = forward_kl if estimate == "k3" else reverse_kl
    logprobs = logits.log_softmax(-1)
    (exact,) = torch.autograd.grad(divergence(logprobs, teacher, logprobs.exp())[0].sum(), logits)
    expected = torch.zeros_like(exact)
    for token in range(4):
        student = logits.log_softmax(-1)
        scores = teacher[[token]], student[[token]]
        if estimate == "k1":
            loss = k1_loss(advantages(*scores, 10.0), scores[1], doubles(1.0))
        elif estimate == "k2":
            loss = k2_loss(*scores, doubles(1.0))
        else:
            loss = k3_loss(*scores, doubles(1.0), clamp=10.0)
        (gradient,) = torch.autograd.grad(loss, logits)
        expected += student[token].exp().detach() * gradient
    assert torch.allclose(expected, exact, atol=1e-12)


def test_abs_and_mse_are_those_of_the_reference():
    student = doubles(-1.0, -2.0, -3.0, requires_grad=True)
    teacher, weights = doubles(-1.2, -0.5, -3.0), doubles(1.0, 0.5, 1.0)
    loss = abs_loss(teacher, student, weights)
    assert loss.item() == pytest.approx(0.2 + 0.75)
    assert torch.autograd.grad(loss, student)[0].tolist() == [1.0, -0.5, 0.0]
    loss = mse_loss(teacher, student, weights)
    assert loss.item() == pytest.approx(0.02 + 0.5 * 1.125)
    assert torch.autograd.grad(loss, student)[0].tolist() == pytest.approx([0.2, -0.75, 0.0])
    assert loss.item() == k2_loss(teacher, student, weights).item()


def test_expected_value_of_k3_is_the_reverse_kl():
    student, teacher = (doubles(*logits).log_softmax(-1) for logits in ((0.4, -0.3, 0.1), (0.2, 0.5, -0.7)))
    exact = reverse_kl(student, teacher, student.exp())[0].sum()
    assert k3_loss(teacher, student, student.exp(), clamp=10.0).item() == pytest.approx(exact.item())


def test_k3_beyond_its_clamp_is_bounded_and_has_no_gradient():
    student = doubles(-30.0, -1.0, requires_grad=True)
    loss = k3_loss(doubles(-1.0, -1.0), student, doubles(1.0, 1.0), clamp=2.0)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(doubles(2.0).exp().item() - 3.0)
    assert gradient.tolist() == [0.0, 0.0]


@given(SCORES, st.integers(0, 4))
def test_student_equal_to_its_teacher_has_no_gradient(scores, padding):
    student = doubles(scores + [0.0] * padding, requires_grad=True)
    weights = token_weights(torch.tensor([[True] * len(scores) + [False] * padding]))
    for loss in (
        k1_loss(advantages(student.detach(), student, 10.0), student, weights),
        k3_loss(student.detach(), student, weights, clamp=10.0),
    ):
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.item() == 0.0
        assert not gradient.any()


@given(SCORES, st.data())
def test_k3_is_never_negative(scores, data):
    teacher = doubles(*data.draw(st.lists(st.floats(-9, 0), min_size=len(scores), max_size=len(scores))))
    weights = torch.full_like(teacher, 1 / len(scores))
    assert k3_loss(teacher, doubles(*scores), weights, clamp=10.0).item() >= -1e-15


def test_group_advantages_are_standardised_rewards():
    made = group_advantages(doubles([1.0, 0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]))
    deviation = (2 * 0.6**2 + 3 * 0.4**2) / 4
    assert made[0].tolist() == pytest.approx([x / deviation**0.5 for x in (0.6, -0.4, -0.4, 0.6, -0.4)], rel=1e-5)
    assert made[1].tolist() == [0.0] * 5


def test_unscaled_group_advantages_are_centred_rewards():
    assert group_advantages(doubles([1.0, 0.0, 0.0, 1.0]), scale=False).tolist() == [[0.5, -0.5, -0.5, 0.5]]
