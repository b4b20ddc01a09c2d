"""Divergences over the vocabulary against float64 autograd of their definitions."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from vicur.training.objectives import forward_kl, jsd, reverse_kl, topk_forward_kl

NEVER = -1e30


def kl(first, second):
    """KL(first || second) of log-probabilities."""
    return kl_div(second, first, log_target=True, reduction="none").sum(-1)


def mixed(beta):
    def divergence(student, teacher):
        mixture = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
        return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)

    return divergence


def at(divergence, student, teacher):
    """Return terms and pull of a divergence."""
    return divergence(student, teacher, student.exp())


DIVERGENCES = {
    "forward": (forward_kl, lambda student, teacher: kl(teacher, student)),
    "reverse": (reverse_kl, kl),
    "jsd 0.1": (jsd(0.1), mixed(0.1)),
    "jsd 0.5": (jsd(0.5), mixed(0.5)),
    "jsd 0.9": (jsd(0.9), mixed(0.9)),
}


def logits_pair(seed=0, rows=5, vocabulary=11, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_terms_sum_to_the_divergence_and_the_pull_gives_its_gradient(name):
    ours, reference = DIVERGENCES[name]
    logits, teacher = logits_pair()
    logits.requires_grad_()
    wanted = reference(logits.log_softmax(-1), teacher.log_softmax(-1))
    (gradient,) = torch.autograd.grad(wanted.sum(), logits)
    student = logits.detach().log_softmax(-1)
    terms, pull = at(ours, student, teacher.log_softmax(-1))
    assert torch.allclose(terms.sum(-1), wanted, atol=1e-12)
    assert torch.allclose(pull - student.exp() * pull.sum(-1, keepdim=True), gradient, atol=1e-12)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_masked_ids_contribute_exactly_nothing(name):
    ours, _ = DIVERGENCES[name]
    student, teacher = (logits[:, :-2].log_softmax(-1) for logits in logits_pair())
    padded = (torch.nn.functional.pad(logprobs, (0, 2), value=NEVER) for logprobs in (student, teacher))
    terms, pull = at(ours, *padded)
    # Not bit for bit: the last few of a row do not fill a vector register and are rounded differently.
    assert torch.allclose(terms[:, :-2], at(ours, student, teacher)[0], rtol=1e-14, atol=0)
    assert not terms[:, -2:].any()
    assert not pull[:, -2:].any()


@given(st.integers(0, 10_000), st.floats(0.1, 20))
def test_divergences_are_never_negative_and_zero_for_equal_distributions(seed, scale):
    student, teacher = (logits.log_softmax(-1) for logits in logits_pair(seed, scale=scale))
    for divergence, _ in DIVERGENCES.values():
        assert at(divergence, student, teacher)[0].sum(-1).min() >= -1e-12
        terms, pull = at(divergence, student, student)
        assert terms.sum(-1).abs().max() < 1e-12
        assert (pull - student.exp() * pull.sum(-1, keepdim=True)).abs().max() < 1e-12
    top = teacher.topk(3)
    assert topk_forward_kl(student.gather(1, top.indices), top.values).min() >= -1e-12
    assert topk_forward_kl(top.values, top.values).abs().max() == 0


@given(st.integers(0, 10_000))
def test_jsd_is_symmetric_at_a_half_and_bounded_by_log_2(seed):
    student, teacher = (logits.log_softmax(-1) for logits in logits_pair(seed, scale=8.0))
    there, back = (at(jsd(0.5), *pair)[0].sum(-1) for pair in ((student, teacher), (teacher, student)))
    assert torch.allclose(there, back, atol=1e-12)
    assert there.max() <= math.log(2)


@pytest.mark.parametrize(("beta", "share", "limit"), [(1e-6, 1e-6, forward_kl), (1 - 1e-6, 1e-6, reverse_kl)])
def test_jsd_tends_to_the_kl_divergences(beta, share, limit):
    student, teacher = (logits.log_softmax(-1) for logits in logits_pair(scale=1.0))
    ours, limits = (at(divergence, student, teacher)[0].sum(-1) for divergence in (jsd(beta), limit))
    assert torch.allclose(ours / share, limits, atol=1e-3)


def test_topk_forward_kl_merges_all_other_tokens_into_one_bucket():
    logits, teacher = logits_pair()
    logits.requires_grad_()
    student, teacher = logits.log_softmax(-1), teacher.log_softmax(-1)
    top = teacher.topk(4)

    def bucketed(logprobs):
        inside = logprobs.gather(1, top.indices)
        outside = logprobs.exp().scatter(1, top.indices, 0.0).sum(-1, keepdim=True).log()
        return torch.cat([inside, outside], dim=1)

    wanted = kl(bucketed(teacher), bucketed(student))
    made = topk_forward_kl(student.gather(1, top.indices), top.values)
    assert torch.allclose(made, wanted, atol=1e-12)
    gradients = [torch.autograd.grad(values.sum(), logits, retain_graph=True)[0] for values in (made, wanted)]
    assert torch.allclose(*gradients, atol=1e-12)


def test_topk_forward_kl_is_at_most_the_forward_kl_and_reaches_it():
    student, teacher = (logits.log_softmax(-1) for logits in logits_pair())
    whole = at(forward_kl, student, teacher)[0].sum(-1)
    made = [
        topk_forward_kl(student.gather(1, top.indices), top.values) for top in (teacher.topk(k) for k in range(1, 11))
    ]
    assert all((fewer <= more + 1e-12).all() for fewer, more in pairwise(made))
    assert torch.allclose(made[-1], whole, atol=1e-12)  # ten tokens and a bucket of one: all eleven


def test_tail_that_rounds_to_zero_gives_finite_values_and_gradients():
    logits = torch.tensor([[30.0, 0.0, -1.0]], requires_grad=True)
    loss = topk_forward_kl(logits.log_softmax(-1)[:, :1], torch.tensor([[-1e-3]]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
