"""Token weights: the mean over responses of the mean over their tokens, for any split of a batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vicur.training.objectives import equal_token_weights, token_weights, weighted_sum

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=7)


def mask_of(lengths, width=None):
    return torch.arange(max(lengths) if width is None else width)[None] < torch.tensor(lengths)[:, None]


def test_weighted_sum_is_the_mean_over_responses_of_the_mean_over_tokens():
    terms = torch.tensor([[1.0, 2.0, 6.0], [5.0, 9.0, 9.0]])
    weights = token_weights(mask_of([3, 1]))
    assert weighted_sum(terms, weights).item() == pytest.approx((3.0 + 5.0) / 2)


def test_response_without_tokens_counts_as_zero():
    assert weighted_sum(torch.full((2, 2), 3.0), token_weights(mask_of([2, 0]))).item() == pytest.approx(1.5)


def test_padding_affects_neither_loss_nor_gradient():
    terms = torch.tensor([[2.0, float("nan")]], requires_grad=True)
    loss = weighted_sum(terms, token_weights(mask_of([1], width=2)))
    (gradient,) = torch.autograd.grad(loss, terms)
    assert loss.item() == 2.0
    assert gradient.tolist() == [[1.0, 0.0]]


@given(LENGTHS, st.integers(0, 5), st.integers(1, 7))
def test_losses_of_micro_batches_add_up_to_that_of_the_batch(lengths, padding, rows):
    mask = mask_of(lengths, max(lengths) + padding)
    terms = torch.arange(mask.numel(), dtype=torch.float64).reshape(mask.shape) / 7 - 1
    whole = weighted_sum(terms, token_weights(mask))
    parts = zip(terms.split(rows), mask.split(rows), strict=True)
    assert sum(weighted_sum(t, token_weights(m, len(lengths))) for t, m in parts).item() == pytest.approx(whole.item())


@given(LENGTHS, st.integers(0, 5))
def test_packed_and_padded_tokens_have_the_same_loss(lengths, padding):
    mask = mask_of(lengths, max(lengths) + padding)
    terms = torch.arange(mask.numel(), dtype=torch.float64).reshape(mask.shape).cos()
    weights = token_weights(mask)
    padded = weighted_sum(terms, weights).item()
    assert weighted_sum(terms[mask], weights[mask]).item() == pytest.approx(padded, abs=1e-12)


def test_mean_over_tokens_counts_long_responses_more():
    terms = torch.tensor([[1.0, 2.0, 6.0], [5.0, float("nan"), 9.0]])
    assert weighted_sum(terms, equal_token_weights(mask_of([3, 1]))).item() == pytest.approx((9.0 + 5.0) / 4)
    assert weighted_sum(terms, equal_token_weights(mask_of([0, 0], width=3))).item() == 0
