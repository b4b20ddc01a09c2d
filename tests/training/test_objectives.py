"""The objective against formulas written out by hand, and its gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vicur.training.objectives import advantages, forward_kl_loss, k1_loss, reverse_kl_loss


def test_advantages_are_clamped_teacher_minus_student_without_gradient():
    student = torch.tensor([[-1.0, -30.0, -2.0]], requires_grad=True)
    made = advantages(torch.tensor([[-0.5, -1.0, -25.0]]), student, clamp=10.0)
    assert made.tolist() == [[0.5, 10.0, -10.0]]
    assert not made.requires_grad


def test_k1_loss_is_the_mean_over_responses_of_the_mean_over_tokens():
    student = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, 0.0, 0.0]], requires_grad=True)
    advantage = torch.tensor([[1.0, 2.0, -1.0], [0.5, 9.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    loss = k1_loss(advantage, student, mask)
    by_hand = -((1.0 * -1.0 + 2.0 * -2.0 + -1.0 * -3.0) / 3 + 0.5 * -4.0) / 2
    assert float(loss) == pytest.approx(by_hand)
    (gradient,) = torch.autograd.grad(loss, student)
    assert gradient.tolist() == [pytest.approx([-1 / 6, -2 / 6, 1 / 6]), [-0.25, 0.0, 0.0]]


def test_infinite_scores_at_padding_do_not_reach_the_loss():
    student = torch.tensor([[-1.0, float("-inf")]], requires_grad=True)
    loss = k1_loss(torch.tensor([[1.0, float("nan")]]), student, torch.tensor([[True, False]]))
    (gradient,) = torch.autograd.grad(loss, student)
    assert float(loss) == 1.0
    assert gradient.tolist() == [[-1.0, 0.0]]


def test_a_response_without_tokens_counts_as_zero():
    loss = k1_loss(torch.ones(2, 2), torch.full((2, 2), -3.0), torch.tensor([[True, True], [False, False]]))
    assert float(loss) == pytest.approx(1.5)


@given(st.lists(st.floats(-9, 0), min_size=1, max_size=6), st.integers(1, 4))
def test_a_student_that_equals_its_teacher_learns_nothing_whatever_the_padding(scores, padding):
    student = torch.tensor([scores + [0.0] * padding], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * len(scores) + [False] * padding])
    loss = k1_loss(advantages(student.detach(), student, 10.0), student, mask)
    (gradient,) = torch.autograd.grad(loss, student)
    assert float(loss) == 0.0
    assert not gradient.any()


def _distributions(*rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_reverse_kl_is_the_divergence_averaged_over_tokens_then_responses():
    student = _distributions([0.5, 0.5], [0.9, 0.1], [0.2, 0.8])
    teacher = _distributions([0.25, 0.75], [0.9, 0.1], [0.5, 0.5])
    mask = torch.tensor([[True, True], [True, False]])
    first = 0.5 * torch.tensor(0.5 / 0.25).log() + 0.5 * torch.tensor(0.5 / 0.75).log()
    third = 0.2 * torch.tensor(0.2 / 0.5).log() + 0.8 * torch.tensor(0.8 / 0.5).log()
    assert reverse_kl_loss(teacher, student, mask).item() == pytest.approx(((first + 0) / 2 + third).item() / 2)


def test_masked_ids_add_nothing_to_reverse_kl_and_to_its_gradient():
    logits = torch.tensor([[0.3, -0.2, 5.0]], dtype=torch.float64, requires_grad=True)
    masked = logits.index_fill(-1, torch.tensor([2]), float("-inf")).log_softmax(-1)
    teacher = torch.tensor([[0.1, 0.4, float("-inf")]], dtype=torch.float64).log_softmax(-1)
    loss = reverse_kl_loss(teacher, masked, torch.tensor([[True]]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert 0 < loss.item() < 1
    assert gradient[0, 2] == 0
    assert gradient.isfinite().all()


def test_k1_has_the_gradient_of_reverse_kl_in_expectation():
    """Summed over what could have been sampled, weighted by its probability, k1's gradient is that of the reverse KL."""
    logits = torch.tensor([[0.4, -0.3, 0.1, -1.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.2, 0.5, -0.7, 0.3]], dtype=torch.float64).log_softmax(-1)
    mask = torch.tensor([[True]])
    (exact,) = torch.autograd.grad(reverse_kl_loss(teacher, logits.log_softmax(-1), mask), logits)
    expected = torch.zeros_like(exact)
    for token in range(4):
        student = logits.log_softmax(-1)
        loss = k1_loss(advantages(teacher[:, [token]], student[:, [token]], 10.0), student[:, [token]], mask)
        (gradient,) = torch.autograd.grad(loss, logits)
        expected += student[0, token].exp().detach() * gradient
    assert torch.allclose(expected, exact, atol=1e-12)


def test_forward_kl_is_the_divergence_the_other_way_round_with_gradient_p_minus_q():
    logits = torch.tensor([[0.3, -0.2, 5.0]], dtype=torch.float64, requires_grad=True)
    student = logits.index_fill(-1, torch.tensor([2]), float("-inf")).log_softmax(-1)
    teacher = torch.tensor([[0.1, 0.4, float("-inf")]], dtype=torch.float64).log_softmax(-1)
    loss = forward_kl_loss(teacher, student, torch.tensor([[True, False]]))
    assert loss.item() == pytest.approx(
        reverse_kl_loss(student.detach(), teacher, torch.tensor([[True, False]])).item()
    )
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(gradient, student.exp().detach() - teacher.exp(), atol=1e-12)


@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6), st.lists(st.floats(-5, 5), min_size=6, max_size=6))
def test_divergences_are_never_negative_and_zero_for_equals(first, second):
    one = torch.tensor([first[:3], first[3:]], dtype=torch.float64).log_softmax(-1)
    other = torch.tensor([second[:3], second[3:]], dtype=torch.float64).log_softmax(-1)
    mask = torch.tensor([[True, True]])
    for divergence in (forward_kl_loss, reverse_kl_loss):
        assert divergence(one, other, mask).item() >= -1e-12
        assert divergence(one, one, mask).item() == pytest.approx(0, abs=1e-12)
