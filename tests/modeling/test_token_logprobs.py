"""Log-probabilities from tiles of the output layer against those from all logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modeling.output_layers import ALLOWED, FORBIDDEN, RAGGED, VOCABULARY, WHOLE, drawn, layer
from vicur.errors import VicurError
from vicur.modeling.tiles import TileSizes
from vicur.modeling.token_logprobs import token_logprobs, top_tokens


def weighted(values):
    """A sum that gives each value a gradient of its own."""
    return (values * torch.linspace(-1, 2, values.numel(), dtype=values.dtype).reshape(values.shape)).sum()


@pytest.mark.parametrize("sizes", [RAGGED, WHOLE, None])
def test_values_and_gradients_are_those_of_all_logits(sizes):
    made, ids = layer(0), drawn(1, 13, 3)
    logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, sizes)
    wanted = made.logprobs().gather(1, ids)
    assert torch.allclose(logprobs, wanted, atol=1e-12)
    gradients = [torch.autograd.grad(weighted(v), [made.hidden_NH, made.weight_VH]) for v in (logprobs, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_entropies_are_those_of_the_masked_distribution_and_have_no_gradient():
    made = layer(0)
    _, entropy = token_logprobs(made.hidden_NH, made.weight_VH, drawn(1, 13, 1), FORBIDDEN, RAGGED)
    allowed = made.logprobs()[:, ALLOWED]
    assert torch.allclose(entropy, -(allowed.exp() * allowed).sum(-1), atol=1e-12)
    assert not entropy.requires_grad


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 20), st.integers(5, 60), st.integers(0, 100))
def test_the_tiling_makes_no_difference(tokens, vocabulary, seed):
    made, ids = layer(seed), drawn(seed, 13, 2)
    found = []
    for sizes in (TileSizes(tokens, vocabulary, strip_bytes=0), WHOLE):
        logprobs, entropy = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, sizes)
        found.append((logprobs, entropy, *torch.autograd.grad(weighted(logprobs), [made.hidden_NH, made.weight_VH])))
    for tiled, whole in zip(*found, strict=True):
        assert torch.allclose(tiled, whole, atol=1e-12)


def test_an_id_asked_for_twice_gets_both_gradients():
    made, ids = layer(0), drawn(1, 13, 1)
    once, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
    twice, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids.expand(-1, 2), FORBIDDEN, RAGGED)
    (expected,) = torch.autograd.grad(2 * once.sum(), made.hidden_NH)
    (gradient,) = torch.autograd.grad(twice.sum(), made.hidden_NH)
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_a_forbidden_id_has_no_probability_and_the_others_keep_theirs():
    made, ids = layer(0), drawn(1, 13, 2)
    ids[4, 1] = 17
    logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
    assert logprobs[4, 1] == -torch.inf
    assert logprobs.isfinite().sum() == ids.numel() - 1


def test_nothing_is_forbidden_where_no_id_is():
    made, ids = layer(0), drawn(1, 13, 1)
    logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN[:0], RAGGED)
    wanted = (made.hidden_NH @ made.weight_VH.t()).log_softmax(-1).gather(1, ids)
    assert torch.allclose(logprobs, wanted, atol=1e-12)


@pytest.mark.parametrize("frozen", ["hidden_NH", "weight_VH"])
def test_what_is_frozen_gets_no_gradient_and_the_other_keeps_its_own(frozen):
    made, ids = layer(0), drawn(1, 13, 1)
    learns = made.weight_VH if frozen == "hidden_NH" else made.hidden_NH
    (wanted,) = torch.autograd.grad(made.logprobs().gather(1, ids).sum(), learns)
    getattr(made, frozen).requires_grad_(False)
    token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)[0].sum().backward()
    assert getattr(made, frozen).grad is None
    assert torch.allclose(learns.grad, wanted, atol=1e-12)


def test_weights_that_are_the_embedding_too_get_the_gradient_of_both_uses():
    made, ids = layer(0), drawn(1, 13, 1)
    hidden = made.weight_VH[ids[:, 0]] * 0.5
    logprobs, _ = token_logprobs(hidden, made.weight_VH, ids, FORBIDDEN, RAGGED)
    wanted = (hidden @ made.weight_VH.t()).index_fill(1, FORBIDDEN, -torch.inf).log_softmax(-1).gather(1, ids)
    gradients = [torch.autograd.grad(v.sum(), made.weight_VH, retain_graph=True)[0] for v in (logprobs, wanted)]
    assert torch.allclose(*gradients, atol=1e-12)


@pytest.mark.parametrize("autocast", [False, True])
def test_low_precision_weights_give_logits_and_sums_in_float32(autocast):
    made, ids = layer(0, dtype=torch.bfloat16), drawn(1, 13, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logprobs, entropy = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
    logprobs.sum().backward()
    assert logprobs.dtype == entropy.dtype == torch.float32
    assert torch.allclose(logprobs.double(), made.logprobs().gather(1, ids), atol=1e-5)
    assert made.hidden_NH.grad.dtype == made.weight_VH.grad.dtype == torch.bfloat16
    wanted = torch.autograd.grad(made.logprobs().gather(1, ids).sum(), made.weight_VH)[0]
    # bfloat16 keeps 8 bits; a sum of 13 tokens that were rounded on the way would be further off.
    assert torch.allclose(made.weight_VH.grad, wanted, rtol=2**-7, atol=2**-6)


def test_float32_states_keep_their_precision_under_autocast():
    made, ids = layer(0, dtype=torch.float32), drawn(1, 13, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs, _ = token_logprobs(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, RAGGED)
        (gradient,) = torch.autograd.grad(logprobs.sum(), made.hidden_NH)
    wanted = made.logprobs().gather(1, ids)
    assert torch.allclose(logprobs.double(), wanted, atol=1e-5)
    assert torch.allclose(gradient, torch.autograd.grad(wanted.sum(), made.hidden_NH)[0], atol=1e-5)


@pytest.mark.parametrize("k", [1, 9, len(ALLOWED)])
def test_top_tokens_are_the_likeliest_that_can_be_drawn(k):
    made, ids = layer(0), drawn(1, 13, 1)
    top, given_ids = top_tokens(made.hidden_NH, made.weight_VH, ids, FORBIDDEN, k, RAGGED)
    wanted = made.logprobs().topk(k)
    assert torch.equal(top.ids_NK, wanted.indices)
    assert torch.allclose(top.logprobs_NK, wanted.values, atol=1e-12)
    assert torch.allclose(given_ids, made.logprobs().gather(1, ids), atol=1e-12)
    assert not top.logprobs_NK.requires_grad


def test_more_top_tokens_than_can_be_drawn_are_refused():
    made = layer(0)
    with pytest.raises(VicurError, match=f"has {len(ALLOWED)} that can be drawn"):
        top_tokens(made.hidden_NH, made.weight_VH, drawn(1, 13, 1), FORBIDDEN, VOCABULARY, RAGGED)


def test_no_tokens_give_no_scores():
    made = layer(0, tokens=0)
    logprobs, entropy = token_logprobs(made.hidden_NH, made.weight_VH, drawn(1, 0, 1), FORBIDDEN, RAGGED)
    logprobs.sum().backward()
    assert logprobs.shape == (0, 1)
    assert entropy.shape == (0,)
    assert not made.weight_VH.grad.any()
