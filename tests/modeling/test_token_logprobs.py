"""Log-probabilities from tiles of the output layer, compared with those from all logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modeling.output_layers import ALLOWED, FORBIDDEN, RAGGED, VOCABULARY, WHOLE, layer, sampled_ids
from vicur.errors import VicurError
from vicur.modeling.tiles import TileSizes
from vicur.modeling.token_logprobs import token_logprobs, top_tokens


def weighted(values):
    """Return a sum in which each value has a different gradient."""
    return (values * torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)).sum()


@pytest.mark.parametrize("sizes", [RAGGED, WHOLE, None])
def test_values_and_gradients_equal_those_from_all_logits(sizes):
    made, ids = layer(0), sampled_ids(1, 13, 3)
    logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, sizes)
    expected = made.logprobs().gather(1, ids)
    assert torch.allclose(logprobs, expected, atol=1e-12)
    gradients = [torch.autograd.grad(weighted(v), [made.hidden_NH, made.weight_VH]) for v in (logprobs, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_entropy_of_the_masked_distribution_has_no_gradient():
    made = layer(0)
    _, entropy = token_logprobs(made.hidden_NH, made.weight_VH, sampled_ids(1, 13, 1), FORBIDDEN, RAGGED)
    allowed = made.logprobs()[:, ALLOWED]
    assert torch.allclose(entropy, -(allowed.exp() * allowed).sum(-1), atol=1e-12)
    assert not entropy.requires_grad


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 20), st.integers(5, 60), st.integers(0, 100))
def test_tile_sizes_do_not_change_the_result(tokens, vocabulary, seed):
    made, ids = layer(seed), sampled_ids(seed, 13, 2)
    results = []
    for sizes in (TileSizes(tokens, vocabulary, strip_bytes=0), WHOLE):
        logprobs, entropy = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, sizes)
        results.append((logprobs, entropy, *torch.autograd.grad(weighted(logprobs), [made.hidden_NH, made.weight_VH])))
    for tiled, whole in zip(*results, strict=True):
        assert torch.allclose(tiled, whole, atol=1e-12)


def test_a_repeated_id_accumulates_both_gradients():
    made, ids = layer(0), sampled_ids(1, 13, 1)
    once, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
    twice, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids.expand(-1, 2), FORBIDDEN, RAGGED)
    (expected,) = torch.autograd.grad(2 * once.sum(), made.hidden_NH)
    (gradient,) = torch.autograd.grad(twice.sum(), made.hidden_NH)
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_a_forbidden_id_has_no_probability_and_the_others_keep_theirs():
    made, ids = layer(0), sampled_ids(1, 13, 2)
    ids[4, 1] = 17
    logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
    assert logprobs[4, 1] == -torch.inf
    assert logprobs.isfinite().sum() == ids.numel() - 1


def test_without_forbidden_ids_nothing_is_masked():
    made, ids = layer(0), sampled_ids(1, 13, 1)
    logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN[:0], RAGGED)
    expected = (made.hidden_NH @ made.weight_VH.t()).log_softmax(-1).gather(1, ids)
    assert torch.allclose(logprobs, expected, atol=1e-12)


@pytest.mark.parametrize("frozen", ["hidden_NH", "weight_VH"])
def test_a_frozen_operand_gets_no_gradient_and_does_not_change_the_other(frozen):
    made, ids = layer(0), sampled_ids(1, 13, 1)
    trainable = made.weight_VH if frozen == "hidden_NH" else made.hidden_NH
    (expected,) = torch.autograd.grad(made.logprobs().gather(1, ids).sum(), trainable)
    getattr(made, frozen).requires_grad_(False)
    token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)[0].sum().backward()
    assert getattr(made, frozen).grad is None
    assert torch.allclose(trainable.grad, expected, atol=1e-12)


def test_tied_weights_get_the_gradients_of_both_uses():
    made, ids = layer(0), sampled_ids(1, 13, 1)
    hidden = made.weight_VH[ids[:, 0]] * 0.5
    logprobs, _ = token_logprobs(hidden, made.weight_VH, ids, FORBIDDEN, RAGGED)
    expected = (hidden @ made.weight_VH.t()).index_fill(1, FORBIDDEN, -torch.inf).log_softmax(-1).gather(1, ids)
    gradients = [torch.autograd.grad(v.sum(), made.weight_VH, retain_graph=True)[0] for v in (logprobs, expected)]
    assert torch.allclose(*gradients, atol=1e-12)


@pytest.mark.parametrize("autocast", [False, True])
def test_low_precision_weights_are_accumulated_in_float32(autocast):
    made, ids = layer(0, dtype=torch.bfloat16), sampled_ids(1, 13, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logprobs, entropy = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
    logprobs.sum().backward()
    assert logprobs.dtype == entropy.dtype == torch.float32
    assert torch.allclose(logprobs.double(), made.logprobs().gather(1, ids), atol=1e-5)
    assert made.hidden_NH.grad.dtype == made.weight_VH.grad.dtype == torch.bfloat16
    expected = torch.autograd.grad(made.logprobs().gather(1, ids).sum(), made.weight_VH)[0]
    # bfloat16 has 8 bits of precision; rounding after each of the 13 tokens would be less accurate.
    assert torch.allclose(made.weight_VH.grad, expected, rtol=2**-7, atol=2**-6)


def test_float32_states_keep_their_precision_under_autocast():
    made, ids = layer(0, dtype=torch.float32), sampled_ids(1, 13, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
        (gradient,) = torch.autograd.grad(logprobs.sum(), made.hidden_NH)
    expected = made.logprobs().gather(1, ids)
    assert torch.allclose(logprobs.double(), expected, atol=1e-5)
    assert torch.allclose(gradient, torch.autograd.grad(expected.sum(), made.hidden_NH)[0], atol=1e-5)


@pytest.mark.parametrize("k", [1, 9, len(ALLOWED)])
def test_top_tokens_are_the_most_likely_allowed_ids(k):
    made, ids = layer(0), sampled_ids(1, 13, 1)
    top, given_ids = top_tokens(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, k, RAGGED)
    expected = made.logprobs().topk(k)
    assert torch.equal(top.ids_NK, expected.indices)
    assert torch.allclose(top.logprobs_NK, expected.values, atol=1e-12)
    assert torch.allclose(given_ids, made.logprobs().gather(1, ids), atol=1e-12)
    assert not top.logprobs_NK.requires_grad


def test_k_larger_than_the_allowed_vocabulary_is_rejected():
    made = layer(0)
    with pytest.raises(VicurError, match=f"has only {len(ALLOWED)} tokens that can be sampled"):
        top_tokens(made.hidden_NH, made.weight_VH, sampled_ids(1, 13, 1), FORBIDDEN, VOCABULARY, RAGGED)


def test_zero_tokens_give_empty_scores_and_zero_gradients():
    made = layer(0, tokens=0)
    logprobs, entropy = token_logprobs(made.hidden_NH, made.weight_VH, sampled_ids(1, 0, 1), FORBIDDEN, RAGGED)
    logprobs.sum().backward()
    assert logprobs.shape == (0, 1)
    assert entropy.shape == (0,)
    assert not made.weight_VH.grad.any()
