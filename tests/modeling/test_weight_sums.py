"""Checksums of weights: equal for equal weights in any layout, different for damaged ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vicur.modeling import weight_sums as module
from vicur.modeling.weight_sums import Region, combined, part_sum, summed, weight_sum, weight_sums


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


def rows(weight, start, stop):
    return part_sum(weight[start:stop], Region(start, 0, stop - start, weight[0].numel()), weight[0].numel())


def columns(weight, start, stop):
    return part_sum(weight[:, start:stop], Region(0, start, len(weight), stop - start), weight.shape[1])


@pytest.mark.parametrize("chunk", [4, 1 << 22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_of_parts_add_up_to_the_sum_of_the_whole(monkeypatch, dtype, chunk):
    weight = some(7, 6, dtype=dtype)
    whole = weight_sum(weight)
    monkeypatch.setattr(module, "_CHUNK", chunk)
    for split in (rows, columns):
        devices = [{"a": [split(weight, 0, 2)]}, {"a": [split(weight, 2, 3), split(weight, 3, 6)]}]
        devices[0]["a"] += [split(weight, 6, 7)] if split is rows else []
        assert combined(devices) == {"a": whole}
    vector, kernel = some(6, dtype=dtype), some(4, 3, 2, dtype=dtype)
    assert combined([{"v": [rows(vector, 0, 4)]}, {"v": [rows(vector, 4, 6)]}]) == {"v": weight_sum(vector)}
    assert combined([{"k": [rows(kernel, 0, 3)]}, {"k": [rows(kernel, 3, 4)]}]) == {"k": weight_sum(kernel)}


def test_a_part_at_another_place_changes_the_sum():
    weight = some(7, 6)
    moved = part_sum(weight[2:4], Region(3, 0, 2, 6), 6)
    assert combined([{"a": [rows(weight, 0, 2), moved, rows(weight, 4, 7)]}]) != {"a": weight_sum(weight)}


def test_devices_that_hold_the_same_part_must_agree():
    weight = some(7, 6)
    both = [{"a": [rows(weight, 0, 7)]}, {"a": [rows(weight, 0, 7)]}]
    assert combined(both) == {"a": weight_sum(weight)}
    assert combined([*both, {"a": [rows(weight + 1, 0, 7)]}]) == {"a": None}


def test_a_missing_part_changes_the_sum():
    weight = some(7, 6)
    assert combined([{"a": [rows(weight, 0, 5)]}]) != {"a": weight_sum(weight)}
