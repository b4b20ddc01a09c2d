"""The checker against labelled responses of many kinds (``labelled.jsonl``), and against responses about digit scenes."""

import random
import re
import time
from pathlib import Path

import pytest

from tests.answers.examples import example
from vicur.answers import is_correct
from vicur.answers.audit import audit, read_labelled
from vicur.answers.correct import Extractor
from vicur.config.data import DigitScenesConfig
from vicur.data.digit_scenes import generate

TABLE = Path(__file__).with_name("labelled.jsonl")


# The strict extractor rejects closing sentences, which the table labels as correct.
@pytest.mark.parametrize(("extractor", "least"), [("lenient", 0.99), ("strict", 0.98)])
def test_the_checker_agrees_with_labelled_responses_and_accepts_no_wrong_one(
    extractor: Extractor, least: float
) -> None:
    rows = read_labelled(TABLE)
    assert len(rows) >= 400
    result = audit(rows, extractor)
    # The message lists what is wrong.
    assert [d for d in result.disagreements if not d.correct] == []
    assert result.total.agreement >= least, result.disagreements


def test_hostile_responses_are_judged_within_the_deadline() -> None:
    for row in read_labelled(TABLE):
        if row.kind in ("hostile", "big"):
            start = time.process_time()
            is_correct(row.response, row)
            assert time.process_time() - start < 1, row.response[:80]


@pytest.mark.parametrize(
    "response",
    [
        "Answer: " * 50_000,
        "\\boxed{" * 50_000,
        "<answer>" * 50_000,
        '{"answer": ' * 30_000,
        "#### x\n" * 50_000,
        "so " * 90_000,
        "Answer: (a+b+c+d+e)^{99}(f+g+h)^{99}",
        "Answer: " + "1 and " * 300 + "1",
        "Answer: " + "√" * 300,
        "$" * 100_000,
    ],
    ids=lambda response: response[:12],
)
def test_degenerate_responses_are_judged_quickly(response: str) -> None:
    start = time.process_time()
    assert not is_correct(response, example("x + 1"))
    assert not is_correct(response, example("x + 1"), extractor="strict")
    assert time.process_time() - start < 2


def test_responses_about_digit_scenes_are_judged_by_their_last_number() -> None:
    rng = random.Random(0)  # noqa: S311
    checked = 0
    for truth in generate(DigitScenesConfig(), 0):
        words = re.findall(r"\w+|[^\w\s]", truth.metadata["reference"])
        wrong, end = str(int(truth.answer) + 1), len(words)
        cases = {
            " ".join(words): True,
            truth.metadata["reference"]: True,
            f"{truth.metadata['reference']}.": True,
            " ".join([*words[:-1], wrong]): False,
            " ".join([*words, "Answer", ":", wrong]): False,
            " ".join([*words[:-1], wrong, *words]): True,
            " ".join(words[: rng.randrange(4, end - 1)]): False,
            " ".join([*words, "of", "them"]): False,
            " ".join([*words, wrong]): False,
            truth.answer: True,
            wrong: False,
            "": False,
        }
        for response, correct in cases.items():
            assert is_correct(response, truth) is correct, response
            assert is_correct(response, truth, extractor="strict") is correct, response
        checked += 1
        if checked == 300:
            break
    assert checked == 300


@pytest.mark.parametrize(
    "response",
    [
        "The answer is 5 or 6.",
        "\\boxed{5} and then \\boxed{6}",
        "\\boxed{6}. Hence \\boxed{5}.",
        "<answer>6</answer> <answer>5</answer>",
        "Answer: 6. In other words \\boxed{5}",
        "The answer is 6. The answer is 5.",
        "Answer: 5. Or maybe 6.",
        "Answer: 5\nWait, it could be 6.",
        "<think>The answer is 5",
        "<think>The answer is 5.</think>",
        "Therefore, the sum is 5.",
        "If the answer is 5, the sum is even.",
        "I count 5 of them here.",
    ],
)
def test_the_strict_extractor_does_not_reward_hedges_or_answers_in_the_reasoning(response: str) -> None:
    assert not is_correct(response, example("5"), extractor="strict")


@pytest.mark.parametrize(
    "response",
    [
        "The sum is 5. Answer: 5",
        "Answer: 6\nNo, that is wrong.\nAnswer: 5",
        "<think>6 or 5?</think>\\boxed{5}",
        "\\boxed{5}. The final answer is \\boxed{5}.",
        "### Final Answer\n\n$$5$$",
        '{"answer": 5}',
        "5",
    ],
)
def test_the_strict_extractor_accepts_one_clear_answer(response: str) -> None:
    assert is_correct(response, example("5"), extractor="strict")


@pytest.mark.parametrize(
    "response", ["Therefore, the sum is 5.", "There are 5 apples.", "\\boxed{6}. Hence \\boxed{5}."]
)
def test_the_lenient_extractor_accepts_more(response: str) -> None:
    assert is_correct(response, example("5"))
