"""Leaks: the answer stated as a conclusion is one, the answer stated as evidence is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cues.examples import LEFT_COLUMN, RED_AND_BLUE, example
from vicur.cues.leaks import find_leak
from vicur.data.scene_text import KINDS, Scene, candidate_questions
from vicur.data.schema import Example

PAPERS_CUE = (
    "The diagram shows a circle with two intersecting chords. One chord is divided into segments labeled x and 8, "
    "the other into segments labeled 4 and 6."
)
digits = st.lists(st.integers(0, 9), min_size=6, max_size=6)
orders = st.permutations(["red", "green", "blue", "yellow", "purple", "orange"])


def scene_of(digits: list[int], colours: list[str]) -> Scene:
    ids = ((0, 0, 0), (0, 0, 0))
    return Scene((tuple(digits[:3]), tuple(digits[3:])), (tuple(colours[:3]), tuple(colours[3:])), ids)


def examples_of(scene: Scene, kind: str) -> list[tuple[Example, str, str]]:
    """Return each question of a kind as an example, with its cue and its reasoning step."""
    return [
        (example(q.question, q.answer, evidence=list(q.evidence), scene=scene.as_metadata()), q.cue, q.step)
        for q in (one.question() for one in candidate_questions(scene, kind))
    ]


@settings(deadline=None)
@given(digits, orders, st.sampled_from(sorted(KINDS)))
def test_evidence_is_never_a_leak_even_if_it_is_the_answer(digits: list[int], colours: list[str], kind: str) -> None:
    for posed, cue, _ in examples_of(scene_of(digits, colours), kind):
        assert find_leak(cue, posed) is None


@settings(deadline=None)
@given(digits, orders, st.sampled_from(sorted(KINDS)), digits)
def test_misread_evidence_is_not_a_leak(digits: list[int], colours: list[str], kind: str, misread: list[int]) -> None:
    wrong = scene_of(misread, colours)
    for (posed, _, _), (_, cue, _) in zip(
        examples_of(scene_of(digits, colours), kind), examples_of(wrong, kind), strict=False
    ):
        if cue.split(" is ")[0] == posed.metadata["evidence"][0]["subject"]:
            assert find_leak(cue, posed) is None


@settings(deadline=None)
@given(digits, orders, st.sampled_from(sorted(KINDS)))
def test_a_reasoning_step_is_always_a_leak(digits: list[int], colours: list[str], kind: str) -> None:
    for posed, cue, step in examples_of(scene_of(digits, colours), kind):
        assert find_leak(step, posed) is not None
        assert find_leak(f"{cue} {step}", posed) is not None


@settings(deadline=None)
@given(
    digits,
    orders,
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(
        [
            "Answer: {}",
            "answer: {}.",
            "The answer is {}.",
            "**Answer:** {}",
            "\\boxed{{{}}}",
            "{} is the answer.",
            "The final answer\nis {}",
            "Answer:\n{}",
            "So it is {}.",
            "Therefore, {}.",
            "We get {}.",
            "The result is ${}$.",
            "The sum is {}.",
            "That makes {} in total.",
            "THE ANSWER IS {}!",
        ]
    ),
)
def test_a_conclusion_is_a_leak_before_and_after_the_cue(
    digits: list[int], colours: list[str], kind: str, conclusion: str
) -> None:
    for posed, cue, _ in examples_of(scene_of(digits, colours), kind):
        stated = conclusion.format(posed.answer)
        assert find_leak(f"{cue} {stated}", posed) is not None, stated
        assert find_leak(f"{stated} {cue}", posed) is not None, stated


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.lists(st.text(), max_size=4), st.booleans())
def test_any_text_is_accepted(cue: str, question: str, answer: str, choices: list[str], known: bool) -> None:
    metadata = {"evidence": RED_AND_BLUE} if known else {}
    find_leak(cue, example(question, answer, choices=tuple(choices), **metadata))


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(0, 99))
def test_a_number_other_than_the_answer_is_not_a_leak(stated: int, answer: int) -> None:
    posed = example("What is the sum of the left column?", str(answer), evidence=LEFT_COLUMN)
    assert (find_leak(f"Answer: {stated}", posed) is not None) == (stated == answer)


@pytest.mark.parametrize(
    ("question", "answer", "cue", "rule"),
    [
        ("Find x.", "12", "x = 12", "asked"),
        ("Find the value of x.", "12", "The segment x is 12.", "asked"),
        ("What is the length of AB?", "5", "The length of AB is 5.", "asked"),
        ("How many dogs are in the picture?", "3", "There are three dogs on the grass.", "asked"),
        ("How many dogs are in the picture?", "3", "Number of dogs: 3", "asked"),
        ("How many even digits are in the top row?", "0", "0 of them are even.", "asked"),
        ("Which is larger, the red digit or the blue digit?", "7", "The red digit is larger.", "judged"),
        ("Is the red digit larger than the blue digit?", "yes", "Red is larger.", "judged"),
        ("What is the total?", "12", "7 + 5 = 12", "computed"),
        ("What is the total?", "12", "12 = 7 + 5", "computed"),
        ("What is the total?", "12", "The numbers 7 and 5 add up to 12.", "computed"),
        ("What is the total?", "12", "Thus 12.", "concluded"),
        ("Which animal is on the left?", "dog", "The answer is dog.", "announced"),
    ],
)
def test_rules_apply_to_free_text_without_known_evidence(question: str, answer: str, cue: str, rule: str) -> None:
    leak = find_leak(cue, example(question, answer))
    assert leak is not None
    assert leak.rule == rule


@pytest.mark.parametrize(
    ("question", "answer", "cue"),
    [
        ("Find x.", "12", PAPERS_CUE),
        ("Find x.", "8", PAPERS_CUE),
        ("What is the length of AB?", "5", "AB is labeled 5."),
        ("How many dogs are in the picture?", "3", "A dog lies left, a dog sits in the middle, a dog runs right."),
        ("Which animal is on the left?", "dog", "A dog stands on the left."),
        ("What is the area of the larger circle?", "25", "The larger circle has radius 5, the smaller one 3."),
        ("What is the total?", "12", "The receipt lists 112, 12.5 and -12."),
        ("What is the total?", "", "Anything."),
    ],
)
def test_descriptions_are_not_leaks(question: str, answer: str, cue: str) -> None:
    assert find_leak(cue, example(question, answer)) is None


@pytest.mark.parametrize(
    "cue",
    ["12", "The digits are 7 and 5; 12.", "The red digit is 12 and 3.", "The red digit is 7 and the rest is twelve"],
)
def test_the_answer_beyond_the_listed_evidence_is_a_leak(cue: str) -> None:
    leak = find_leak(cue, example("What do they make?", "12", evidence=RED_AND_BLUE))
    assert leak is not None
    assert leak.rule == "beyond the evidence"


@pytest.mark.parametrize(
    ("answer", "cue", "leaks"),
    [
        ("B", "The correct answer is (B).", True),
        ("B", "B is correct.", True),
        ("B", "Answer: dog", True),
        ("dog", "\\boxed{B}", True),
        ("B", "So it is a dog.", True),
        ("B", "The animal is a dog.", False),
        ("B", "Option B shows a dog.", False),
        ("B", "The picture shows points A, B and C.", False),
        ("A", "The answer box beside the plate is empty.", False),
    ],
)
def test_a_choice_is_given_away_by_its_letter_or_its_text(answer: str, cue: str, leaks: bool) -> None:
    posed = example("What animal is it?", answer, choices=("cat", "dog"))
    assert (find_leak(cue, posed) is not None) == leaks


@pytest.mark.parametrize(
    "unit", ["12 is ", "7 plus ", "the sum of ", "red digit is 7 and the ", "therefore 13 ", "\n\n "]
)
def test_matching_takes_linear_time(unit: str) -> None:
    posed = example("What is the sum of the red digit and the blue digit?", "12", evidence=RED_AND_BLUE)
    started = time.process_time()
    find_leak(unit * (20_000 // len(unit)), posed)
    assert time.process_time() - started < 2
