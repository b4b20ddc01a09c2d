"""Lists, differences and numbers read the same everywhere."""

import pytest

from vicur.wording import did_you_mean, differences, estimate, interval, listed, mean_and_std, percent, points


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), (["a"], "a"), ("abc", "a, b, c"), ("abcd", "a, b, c and 1 more"), (range(9), "0, 1, 2 and 6 more")],
)
def test_long_lists_end_with_the_number_of_items_left_out(items, text):
    assert listed(items, shown=3) == text


def test_differences_name_changed_and_missing_keys_alone():
    assert differences({"a": 1, "b": 2, "same": 0}, {"a": 3, "c": None, "same": 0}) == [
        "a: 1 there, 3 here",
        "b: 2 there, absent here",
        "c: absent there, None here",
    ]


def test_a_similar_name_is_suggested_and_a_strange_one_is_not():
    assert did_you_mean("learning_rat", ["learning_rate", "steps"]) == " Did you mean 'learning_rate'?"
    assert did_you_mean("colour", ["steps"]) == ""


def test_shares_are_written_with_one_decimal_and_differences_with_their_sign():
    assert percent(0.7391) == "73.9 %"
    assert [points(0.08), points(-0.02), points(0.0003), points(-0.0001), points(0.0)] == [
        "+8.0",
        "−2.0",
        "+0.03",
        "−0.01",
        "+0.0",
    ]
    assert interval(-0.04, 0.108, 0.95) == "95 % interval −4.0 to +10.8"
    assert mean_and_std(0.728, 0.0281) == "72.8 ± 2.8"
    assert estimate(0.08, -0.0002, 0.108) == "+8.0 [−0.02, +10.8]"
    assert estimate(0.08, -0.0002, 0.108, 0.0321) == "+8.0 [−0.02, +10.8], tie (detects 3.2)"
    assert estimate(0.08, 0.01, 0.108, 0.0321) == "+8.0 [+1.0, +10.8]"
