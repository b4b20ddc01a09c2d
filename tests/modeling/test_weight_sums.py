"""Checksums of weights: equal for equal weights in any layout, different for damaged ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vicur.modeling import weight_sums as module
from vicur.modeling.weight_sums import summed, weight_sum, weight_sums


def some(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_memory_layout_and_the_sign_of_zero_do_not_matter(dtype):
    weight = some(7, 5, dtype=dtype)
    weight[2, 3] = 0.0
    other = weight.t().contiguous().t()
    other[2, 3] = -0.0
    assert other.stride() != weight.stride()
    assert weight_sum(other) == weight_sum(weight) == weight_sum(weight.flatten())


@given(st.integers(0, 34), st.integers(0, 31))
def test_one_flipped_bit_changes_the_sum(place, bit):
    weight = some(7, 5)
    other = weight.clone()
    other.view(torch.int32).view(-1)[place] ^= (1 << bit) if bit < 31 else -(1 << 31)
    assert weight_sum(other) != weight_sum(weight)


@given(st.permutations(range(12)).filter(lambda order: list(order) != list(range(12))))
def test_the_order_of_elements_changes_the_sum(order):
    weight = some(12)
    assert weight_sum(weight[order]) != weight_sum(weight)


def test_summing_in_chunks_gives_the_same_sum(monkeypatch):
    weight = some(7, 5)
    whole = weight_sum(weight)
    monkeypatch.setattr(module, "_CHUNK", 4)
    assert weight_sum(weight) == whole


def test_summed_records_the_sums_of_the_weights_it_yields():
    weights = [("a", some(3)), ("b", some(4, seed=1))]
    sums: dict[str, int] = {}
    passed = list(summed(weights, sums))
    assert [name for name, _ in passed] == ["a", "b"]
    assert sums == weight_sums(weights)
