from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vicur.evaluation.selection import sample_evenly

items = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=30)


@given(items, st.integers(0, 40))
def test_samples_have_the_requested_size_and_no_duplicates(pool: list[tuple[str, int]], count: int) -> None:
    numbered = list(enumerate(pool))
    chosen = sample_evenly(numbered, count, by=lambda i: i[1][0], seed=0, name="x")
    assert len(chosen) == min(count, len(pool))
    assert len({n for n, _ in chosen}) == len(chosen)


@given(items)
def test_every_category_is_represented(pool: list[tuple[str, int]]) -> None:
    categories = {category for category, _ in pool}
    chosen = sample_evenly(pool, len(categories), by=lambda i: i[0], seed=0, name="x")
    assert {category for category, _ in chosen} == categories


def test_groups_repeat_only_when_all_groups_are_used() -> None:
    pool = [("a", n // 3) for n in range(30)]
    chosen = sample_evenly(pool, 12, by=lambda i: i[0], apart=lambda i: i[1], seed=0, name="x")
    assert len({group for _, group in chosen[:10]}) == 10
    assert max(Counter(group for _, group in chosen).values()) == 2


def test_samples_depend_on_the_seed_alone() -> None:
    pool = list(range(100))
    one, other = (sample_evenly(pool, 10, by=lambda _: "a", seed=seed, name="x") for seed in (0, 1))
    assert one == sample_evenly(pool, 10, by=lambda _: "a", seed=0, name="x")
    assert one != other
