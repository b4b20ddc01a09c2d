"""The order of training rows: exact for small datasets, few row groups a batch for large ones, each row once an epoch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicur.seeds import numpy_generator
from vicur.training.order import BatchOrder, Buffer, RowGroups

_groups = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(sum)


def _order(groups: list[int], batch: int, seed: int = 0, buffer: int = 10, size: int = 1 << 40) -> BatchOrder:
    return BatchOrder(RowGroups(tuple(groups), tuple(10 * rows for rows in groups)), batch, seed, Buffer(buffer, size))


@pytest.mark.parametrize("groups", [(1000,), (250, 250, 250, 250), (250, 3, 747)])
def test_rows_that_fit_into_the_buffer_are_permuted_as_a_whole(groups: tuple[int, ...]) -> None:
    order = BatchOrder(RowGroups(groups, (0,) * len(groups)), 32, seed=5)
    expected = np.concatenate([numpy_generator(5, "data", "epoch", epoch).permutation(1000) for epoch in range(3)])
    assert [row for step in range(60) for row in order.rows(step)] == expected[: 60 * 32].tolist()


@settings(deadline=None, max_examples=150)
@given(groups=_groups, batch=st.integers(1, 20), buffer=st.integers(1, 30), seed=st.integers(0, 3))
def test_each_epoch_contains_every_row_once(groups: list[int], batch: int, buffer: int, seed: int) -> None:
    count, epochs = sum(groups), 3
    order = _order(groups, batch, seed, buffer)
    rows = [row for step in range(-(-epochs * count // batch)) for row in order.rows(step)]
    for epoch in range(epochs):
        assert Counter(rows[epoch * count : (epoch + 1) * count]) == Counter(range(count))


@settings(deadline=None, max_examples=60)
@given(groups=_groups, batch=st.integers(1, 20), buffer=st.integers(1, 30), step=st.integers(0, 40))
def test_a_batch_does_not_depend_on_the_batches_that_were_asked_for_before(
    groups: list[int], batch: int, buffer: int, step: int
) -> None:
    used = _order(groups, batch, buffer=buffer)
    for earlier in range(step):
        used.rows(earlier)
    assert used.rows(step) == _order(groups, batch, buffer=buffer).rows(step)


def test_batches_of_a_large_dataset_touch_the_groups_of_one_window() -> None:
    order = BatchOrder(RowGroups((250,) * 4000, (1,) * 4000), 32, seed=0, buffer=Buffer(rows=2500))
    touched = [{row // 250 for row in order.rows(step)} for step in range(78)]  # the first window has 2,500 rows
    assert len(set().union(*touched)) == 10
    # Its rows are mixed: most batches contain rows of nearly all of its groups.
    assert sorted(map(len, touched))[5] >= 8


def test_windows_are_as_large_as_the_buffer_in_bytes() -> None:
    groups = RowGroups((250,) * 100, (1000,) * 100)
    order = BatchOrder(groups, 250, seed=0, buffer=Buffer(rows=1 << 40, size=10_000))
    assert len({row // 250 for step in range(10) for row in order.rows(step)}) == 10


def test_epochs_and_seeds_give_other_orders() -> None:
    rows = [
        BatchOrder(RowGroups((50,) * 40, (1,) * 40), 2000, seed, Buffer(500)).rows(step)
        for seed, step in [(0, 0), (0, 1), (1, 0)]
    ]
    assert rows[0] != rows[1] != rows[2] != rows[0]
