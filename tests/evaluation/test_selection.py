from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vicur.evaluation.selection import spread

items = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=30)


@given(items, st.integers(0, 40))
def test_as_many_as_asked_for_are_taken_and_none_twice(pool: list[tuple[str, int]], count: int) -> None:
    numbered = list(enumerate(pool))
    chosen = spread(numbered, count, by=lambda i: i[1][0], seed=0, name="x")
    assert len(chosen) == min(count, len(pool))
    assert len({n for n, _ in chosen}) == len(chosen)


@given(items)
def test_every_sort_gets_its_turn(pool: list[tuple[str, int]]) -> None:
    sorts = {sort for sort, _ in pool}
    chosen = spread(pool, len(sorts), by=lambda i: i[0], seed=0, name="x")
    assert {sort for sort, _ in chosen} == sorts


def test_groups_are_repeated_only_when_nothing_else_is_left() -> None:
    pool = [("a", n // 3) for n in range(30)]
    chosen = spread(pool, 12, by=lambda i: i[0], apart=lambda i: i[1], seed=0, name="x")
    assert len({group for _, group in chosen[:10]}) == 10
    assert max(Counter(group for _, group in chosen).values()) == 2


def test_the_seed_decides() -> None:
    pool = list(range(100))
    one, other = (spread(pool, 10, by=lambda _: "a", seed=seed, name="x") for seed in (0, 1))
    assert one == spread(pool, 10, by=lambda _: "a", seed=0, name="x")
    assert one != other
