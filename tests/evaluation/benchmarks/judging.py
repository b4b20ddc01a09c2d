"""Answers with known verdicts, and a judge double that understands the harness's prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.cues.openai_double import ReceivedRequest, Reply
from vicur.data import read_examples
from vicur.evaluation.benchmarks.answers import Answer, AnswerRecord, manifest_sha256, staged_benchmark, write_answers
from vicur.evaluation.benchmarks.content import KEY

_STATED = re.compile(r"(?:final result is|'final': )\s*<?([^<>\n.']+(?:\.\d+)?)>?")


def sentence(answer: str) -> str:
    """Return a response that states an answer, which no rule of the harness finds, so that it asks its judge."""
    return f"I looked at the picture for a long while and then at every bar once more; my final result is <{answer}>."


def judge_reply(request: ReceivedRequest) -> Reply:
    """Answer a probe, an extraction, a comparison or a choice of the harness."""
    text = str(request.body["messages"][-1]["content"])
    if "number 7" in text:
        return Reply("7")
    if text == "hello":
        return Reply("Hello!")
    if "Judgement:" in text:
        tail = text.rpartition("[Question]:")[2]
        gold = re.search(r"\[Standard Answer\]: (.*)", tail)
        stated = re.search(r"\[Model_answer\] : (.*)", tail)
        return Reply("1" if gold and stated and gold[1].strip() == stated[1].strip() else "0")
    found = _STATED.findall(text)
    return Reply(found[-1].strip() if found else "Z")


def gold_of(dataset: Path) -> list[str]:
    """Return what each question's response must state to be right: a letter, if it has options."""
    golds = []
    for row in read_examples(dataset):
        columns = row.metadata[KEY]["columns"]
        golds.append(columns.get("answer_option") or columns["answer"])
    return golds


def write_responses(dataset: Path, responses: Sequence[str], folder: Path, *, finished: bool = True) -> Path:
    """Write a folder of answers."""
    rows = read_examples(dataset)
    folder.mkdir(parents=True)
    answers = [
        Answer(id=row.id, response=response, tokens=3, finished=finished)
        for row, response in zip(rows, responses, strict=True)
    ]
    record = AnswerRecord(
        benchmark=staged_benchmark(dataset),
        dataset=manifest_sha256(dataset),
        model="0" * 64,
        method="base",
        settings={},
    )
    write_answers(answers, record, folder)
    return folder


def half_right(dataset: Path) -> tuple[list[str], list[bool]]:
    """Return responses that state the answer, every third of them a wrong one, and which are right."""
    golds = gold_of(dataset)
    right = [number % 3 != 1 for number in range(len(golds))]
    return [sentence(gold if ok else wrong(gold)) for gold, ok in zip(golds, right, strict=True)], right


def wrong(gold: str) -> str:
    """Return another answer of the same form."""
    if gold in "ABCD":
        return "A" if gold != "A" else "B"
    return "77" if gold[:1].isdigit() else "something else"
