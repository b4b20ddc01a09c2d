import pytest

from tests.answers.examples import example
from vicur.answers import can_be_met, is_correct
from vicur.answers.choices import canonical_choice


@pytest.mark.parametrize(
    ("gold", "value"),
    [
        ("$60$", "60"),
        ("$2.5$", "2.5"),
        ("<answer> A </answer>", "A"),
        ("\\text{east}", "east"),
        ("90 ^ { \\circ }", "90 degrees"),
        ("#### 60", "60"),
        ("The answer is 5", "5"),
        ("\\boxed{\\frac12}", "0.5"),
        ("**12**", "12"),
    ],
)
def test_gold_answers_are_normalised_as_responses_are(gold: str, value: str) -> None:
    assert can_be_met(gold)
    for extractor in ("strict", "lenient"):
        for frame in ("Answer: {}", "The answer is {}.", "\\boxed{{{}}}", "<answer>{}</answer>", "{}"):
            assert is_correct(frame.format(value), example(gold), extractor=extractor)


@pytest.mark.parametrize(
    "gold", ["12", "3, 4", "red or blue", "x = 1 or x = 3", "9:45", "1/2", "No. 7", "a", "A", "It is 5."]
)
def test_an_answer_that_matches_itself_can_be_met(gold: str) -> None:
    assert can_be_met(gold)


@pytest.mark.parametrize("gold", ["\\boxed{}", ".", "**", "<answer></answer>", "$$", "\\text{}"])
def test_an_answer_that_does_not_match_itself_cannot_be_met(gold: str) -> None:
    assert not can_be_met(gold)


def test_the_answer_of_a_choice_may_be_framed() -> None:
    choices = ("12 cm", "15 cm")
    assert canonical_choice("B", choices) == "B"
    assert canonical_choice("15 cm", choices) == "15 cm"
    for framed in ("(B)", "<answer> B </answer>", "B. 15 cm", "The answer is B", "$15$ cm", "\\boxed{B}"):
        assert canonical_choice(framed, choices) == "15 cm"
    for other in ("C", "B. 12 cm", "13 cm", "A or B"):
        assert canonical_choice(other, choices) is None
