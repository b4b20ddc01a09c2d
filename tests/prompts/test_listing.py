"""Whether a question lists its choices already. Near misses must not count: their choices are added to the prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.prompts.choices import answer_text, lists_choices, unlabelled

NUMBERS = ("7", "5", "12", "9")
WORDS = ("a red car", "the blue bus", "no vehicle", "two bicycles")

LISTED = [
    ("What is x?\nA. 7\nB. 5\nC. 12\nD. 9", NUMBERS),
    ("What is x?\n(A) 7\n(B) 5\n(C) 12\n(D) 9", NUMBERS),
    ("What is x?\nA) 7\nB) 5\nC) 12\nD) 9", NUMBERS),
    ("What is x?\nA: 7\nB: 5\nC: 12\nD: 9", NUMBERS),
    ("What is x?\n[A] 7\n[B] 5\n[C] 12\n[D] 9", NUMBERS),
    ("What is x?\nA - 7\nB - 5\nC - 12\nD - 9", NUMBERS),
    ("What is x?\nA 7\nB 5\nC 12\nD 9", NUMBERS),
    ("What is x?\na) 7\nb) 5\nc) 12\nd) 9", NUMBERS),
    ("What is x?\n(a) 7 (b) 5 (c) 12 (d) 9", NUMBERS),
    ("What is x?\nChoices:\n(A) 7\n(B) 5\n(C) 12\n(D) 9", NUMBERS),
    ("What is x? Choices: (A) 7 (B) 5 (C) 12 (D) 9", NUMBERS),
    ("What is x? Options: A. 7, B. 5, C. 12, D. 9", NUMBERS),
    ("What is x? Options: A. 7, B. 5, C. 12, or D. 9?", NUMBERS),
    ("What is x? A. 7; B. 5; C. 12; D. 9.", NUMBERS),
    ("What is x?\nA. 7\nB. 5\nC. 12\nD. 9\nAnswer with the letter only.", NUMBERS),
    ("What is x? A. 7 B. 5 C. 12 D. 9 Answer with the letter only.", NUMBERS),
    ("Choose.\nA.7\nB.5\nC.12\nD.9", NUMBERS),
    ("What is x?\n\n- A. 7\n- B. 5\n- C. 12\n- D. 9", NUMBERS),
    ("What is x?\n**A.** 7\n**B.** 5\n**C.** 12\n**D.** 9", NUMBERS),
    (r"What is $x$? \text{A.} 7 \quad \text{B.} 5 \quad \text{C.} 12 \quad \text{D.} 9", NUMBERS),
    (r"What is $x$?" "\n" r"\text{(A)}\ 7 \qquad \text{(B)}\ 5 \qquad \text{(C)}\ 12 \qquad \text{(D)}\ 9", NUMBERS),
    ("What is x?\n(A) $7$\n(B) $5$\n(C) $12$\n(D) $9$", NUMBERS),
    (r"(A) $\frac{1}{2}$ (B) $\frac{1}{3}$", (r"$\frac12$", r"$\frac13$")),
    ("x 是多少？\nA．7\nB．5\nC．12\nD．9", NUMBERS),
    ("x 是多少？ A、7 B、5 C、12 D、9", NUMBERS),
    ("Which is shown?\nA. a red car\nB. the blue bus\nC. no vehicle\nD. two bicycles", WORDS),
    ("Which is shown?\nA. A red car.\nB. The blue bus.\nC. No vehicle.\nD. Two bicycles.", WORDS),
    ("Which is shown? (A) a red car (B) the blue bus (C) no vehicle (D) two bicycles", WORDS),
    ("Look.\nA. 7\nB. 5\nC. 12\nD. 9\n\nWhat is x?", NUMBERS),
    ("Is it so?\nA. Yes\nB. No", ("yes", "no")),
    ("Which one?\nA. <image 1>\nB. <image 2>", ("<image 1>", "<image 2>")),
    ("What is x?\nA. 7\nB. 5", ("A. 7", "B. 5")),
    ("What is x? A. see B. below B. 5", ("see B. below", "5")),
    ("x?\tA. 7\tB. 5\tC. 12\tD. 9", NUMBERS),
    ("What is x?\nA. 7 cm\nB. 5 cm", ("7 cm", "5 cm")),
]

NOT_LISTED = [
    ("What is x?", NUMBERS),
    ("Is it 7, 5, 12 or 9?", NUMBERS),
    ("What is x? Choices: 7, 5, 12, 9", NUMBERS),
    ("What is x? ['7', '5', '12', '9']", NUMBERS),
    ("What is x?\n1. 7\n2. 5\n3. 12\n4. 9", NUMBERS),
    ("What is x?\n(i) 7\n(ii) 5\n(iii) 12\n(iv) 9", NUMBERS),
    ("Point A. 7 points lie to its left. What is x?", NUMBERS),
    ("What is x?\nA. 7\nB. 5", NUMBERS),
    ("What is x?\nA. 7\nB. 5\nC. 12", NUMBERS),
    ("What is x?\nA. 5\nB. 7\nC. 12\nD. 9", NUMBERS),
    ("What is x?\nA. 3\nB. 4\nC. 5\nD. 6", NUMBERS),
    ("What is x?\nA. 7\nB. 5\nC. 12\nD. 90", NUMBERS),
    ("What is x?\nA. 7\nB. 5\nC. 12\nD. 9.5", NUMBERS),
    ("What is x?\nA. 70\nB. 5\nC. 12\nD. 9", NUMBERS),
    ("What is x?\nA. 7\nC. 5\nB. 12\nD. 9", NUMBERS),
    ("What is x?\nB. 7\nC. 5\nD. 12\nE. 9", NUMBERS),
    ("Triangle A B C D has sides 7 5 12 9. What is x?", NUMBERS),
    ("Group A: 7 people, group B: 5 people, group C: 12 people, group D: 9 people. How many?", NUMBERS),
    ("In figure A) 7 apples and B) 5 apples are shown, which is more?", ("7", "5")),
    ("Which vitamin is it, A. or B.?", ("7", "5")),
    ("A. 7", ("7",)),
    ("What is x?\nA. -7\nB. 5\nC. 12\nD. 9", NUMBERS),
    ("Is it A. Yes B. No", ("no", "yes")),
]


@pytest.mark.parametrize(("question", "choices"), LISTED)
def test_choices_in_the_question_are_recognised(question: str, choices: tuple[str, ...]) -> None:
    assert lists_choices(question, choices)


@pytest.mark.parametrize(("question", "choices"), NOT_LISTED)
def test_a_near_miss_is_no_listing(question: str, choices: tuple[str, ...]) -> None:
    assert not lists_choices(question, choices)


@given(
    st.lists(
        st.text("abc 0123456789.,", min_size=1, max_size=8).filter(lambda text: any(map(str.isalnum, text))),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    st.sampled_from(["{}. {}", "({}) {}", "{}: {}", "{}) {}"]),
)
def test_listings_on_lines_of_their_own_are_recognised(choices: list[str], form: str) -> None:
    # Choices that normalise to nothing or to each other cannot be told apart.
    lines = [form.format("ABCDEF"[place], choice.strip()) for place, choice in enumerate(choices)]
    assert lists_choices("What?\n" + "\n".join(lines), [choice.strip() for choice in choices])


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=20), max_size=5))
def test_any_text_is_accepted(question: str, choices: list[str]) -> None:
    lists_choices(question, choices)


@pytest.mark.parametrize(
    "question",
    [
        "A. " * 20_000,
        "(A) 7 (B) " * 10_000,
        "A. 7\n" * 20_000 + "B. 5\nC. 12\n" * 10_000,
        "\\text{" * 30_000,
        "**" * 50_000,
    ],
    ids=["labels", "pairs", "chains", "latex", "bold"],
)
def test_a_hostile_question_takes_little_time(question: str) -> None:
    from time import perf_counter

    start = perf_counter()
    lists_choices(question, NUMBERS)
    assert perf_counter() - start < 3


@pytest.mark.parametrize(
    ("answer", "choices", "text"),
    [
        ("C", NUMBERS, "C. 12"),
        ("12", NUMBERS, "C. 12"),
        ("(C)", NUMBERS, "C. 12"),
        ("B", ("A. 7", "B. 5"), "B. 5"),
        ("B. 5", ("A. 7", "B. 5"), "B. 5"),
        ("B", ("A", "B", "C"), "B"),
        ("B", ("<image 1>", "<image 2>"), "B"),
        ("B", ("cat <image 1>", "dog\n <image 2>"), "B. dog"),
        ("12", (), "12"),
        ("<answer>C</answer>", NUMBERS, "C. 12"),
    ],
)
def test_the_answer_is_stated_with_letter_and_text(answer: str, choices: tuple[str, ...], text: str) -> None:
    assert answer_text(answer, choices) == text


def test_only_labels_of_all_choices_are_removed() -> None:
    assert unlabelled(("A. 7", "(B) 5")) == ("7", "5")
    assert unlabelled(("A. 7", "5")) == ("A. 7", "5")
    assert unlabelled(("B. 7", "A. 5")) == ("B. 7", "A. 5")
