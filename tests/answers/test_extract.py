import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.answers import extract_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The left column holds 7 and 5. 7 plus 5 is 12. Answer: 12", "12"),
        ("Answer : 12", "12"),
        ("answer: 3\nNo. Answer: 4.", "4"),
        ("So the answer is 3.5.", "3.5"),
        ("**Answer:** B", "B"),
        ("**Final Answer:** \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("**Answer**: *yes*", "yes"),
        ("We get \\boxed{3}, that is \\boxed{\\sqrt{4}}", "\\sqrt{4}"),
        ("Answer: 5. In other words \\boxed{6}", "6"),
        ("\\boxed{6}, so the answer is 7", "7"),
        ("Answer: $x = 3$", "x = 3"),
        ("Answer: \\(x\\)", "x"),
        ("Answer: $$\n", "$$"),
        ("Answer:\n\n12\n", "12"),
        ("The correct option is (C).", "(C)"),
        ("<think>Answer: 3</think><answer>4</answer>", "4"),
        ("<think>I think the answer is 3", "3"),
        ("\\boxed{\\text{left}}", "left"),
        ("12", "12"),
        ("(B) 12 cm", "(B) 12 cm"),
        ("The answer is “seven”.", "seven"),
    ],
)
def test_the_last_stated_answer_is_extracted(response: str, answer: str) -> None:
    assert extract_answer(response) == answer


@pytest.mark.parametrize(
    "response",
    [
        "",
        " \n",
        "7 plus 5 is 12 and nothing else",
        "Answer:",
        "\\boxed{}",
        "\\boxed{never closed",
        "Answer: **",
        "<answer></answer>",
    ],
)
def test_without_a_stated_answer_the_result_is_none(response: str) -> None:
    assert extract_answer(response) is None


def test_an_empty_marker_falls_back_to_the_answer_before_it() -> None:
    assert extract_answer("Answer: 12\nAnswer:") == "12"


_PIECES = st.sampled_from(
    [
        "Answer:",
        "\\boxed{",
        "}",
        "{",
        "$",
        "<answer>",
        "</answer>",
        "</think>",
        "**",
        "the answer is",
        "7",
        ".",
        "\n",
        "“",
        "\ud800",
        "\0",
    ]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join), st.lists(_PIECES).map(" ".join)))
def test_any_text_gives_a_clean_answer_or_none(response: str) -> None:
    answer = extract_answer(response)
    assert answer is None or (answer and answer == answer.strip())


def test_long_responses_are_handled_quickly() -> None:
    assert extract_answer("Answer: " * 20_000 + "{" * 20_000 + "\\boxed{" * 500) is not None
