"""Parsing cues into clauses, subjects and values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cues.examples import LEFT_COLUMN, example
from vicur.cues.statements import Statement, canonical, clauses, stated_evidence, statement, truths

words = st.from_regex(r"[a-z]{2,9}", fullmatch=True).filter(
    lambda w: (
        w
        not in {"is", "are", "hold", "holds", "contain", "contains", "show", "shows", "has", "have", "read"}
        | {
            "reads",
            "says",
            "equal",
            "equals",
            "and",
            "while",
            "but",
            "whereas",
            "the",
            "an",
            "one",
            "two",
            "ten",
            "six",
        }
    )
)
subjects = st.lists(words, min_size=1, max_size=3).map(" ".join)
value_lists = st.lists(st.integers(0, 999).map(str), min_size=1, max_size=5)


def listed(values: list[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} and {values[-1]}"


@settings(deadline=None)
@given(st.lists(st.tuples(subjects, st.sampled_from(["is", "holds", "shows"]), value_lists), min_size=1, max_size=3))
def test_statements_joined_into_a_sentence_are_parsed_back(parts: list[tuple[str, str, list[str]]]) -> None:
    sentence = " and ".join(f"the {subject} {verb} {listed(values)}" for subject, verb, values in parts)
    parsed = [statement(clause) for clause in clauses(canonical(f"{sentence.capitalize()}."))]
    assert parsed == [Statement(subject, tuple(values)) for subject, _, values in parts]


@pytest.mark.parametrize(
    ("text", "subject", "values"),
    [
        ("The left column holds 7 and 5.", "left column", ("7", "5")),
        ("The top row holds 3, 7 and 1.", "top row", ("3", "7", "1")),
        ("the red digit is seven", "red digit", ("7",)),
        ("Top row: 3, 7, 1", "top row", ("3", "7", "1")),
        ("x = 12.0", "x", ("12",)),
        ("The animal on the left is a dog.", "animal on the left", ("dog",)),
    ],
)
def test_a_statement_is_a_subject_a_verb_and_values(text: str, subject: str, values: tuple[str, ...]) -> None:
    assert [statement(clause) for clause in clauses(canonical(text))] == [Statement(subject, values)]


@pytest.mark.parametrize("text", ["Two digits.", "The left column holds 7 and 5, so 12", "7 plus 5 is 12"])
def test_text_beyond_a_list_of_values_is_not_a_statement(text: str) -> None:
    assert [statement(clause) for clause in clauses(canonical(text))] == [None]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("TWELVE", "12"),
        ("1,234,567", "1234567"),
        ("3, 7", "3, 7"),
        ("12.00", "12"),
        ("12.05", "12.05"),
        ("$x$ is \\(12\\)", "x is 12"),
        ("−5", "-5"),
        ("**Answer**:  12", "answer: 12"),
        ("one-way", "one-way"),
    ],
)
def test_equivalent_texts_have_the_same_canonical_form(text: str, same: str) -> None:
    assert canonical(text) == same


@settings(deadline=None)
@given(st.text())
def test_any_text_is_accepted(text: str) -> None:
    for clause in clauses(canonical(text)):
        statement(clause)


def test_truths_are_the_listed_evidence_and_the_grid_of_a_scene() -> None:
    scene = {"digits": [[7, 1, 2], [5, 3, 4]], "colours": [["red", "green", "blue"], ["yellow", "purple", "orange"]]}
    known = truths(example(evidence=LEFT_COLUMN, scene=scene))
    assert known["left column"] == ("7", "5")
    assert known["bottom row"] == ("5", "3", "4")
    assert known["orange digit"] == ("4",)
    assert len(known) == 3 + 2 + 6


def test_scenes_of_another_shape_give_the_parts_that_have_names() -> None:
    assert truths(example(scene={"digits": [[7]], "colours": [["red"]]})) == {"red digit": ("7",)}
    assert truths(example(scene="a park")) == {}
    assert truths(example(scene={"digits": None})) == {}


def test_evidence_without_a_subject_or_a_value_is_skipped() -> None:
    assert stated_evidence(example(evidence=[{"subject": "", "value": 1}, {"subject": "sky"}, "sky"])) == {}
