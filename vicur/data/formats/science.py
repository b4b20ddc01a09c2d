"""Multiple-choice questions whose answer is the number or letter of a choice: ScienceQA, A-OKVQA, M3CoT and MMBench."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import QuestionLayout, without
from vicur.data.schema import UnusableRowError


@register
class ScienceQaParquetFormat(QuestionLayout):
    """ScienceQA as on the Hub. ``hint`` is the context of the question, and the solution its rationale."""

    name = "scienceqa"
    description = "ScienceQA: hint, lecture, solution, and the number of the right choice"
    identified_by = (frozenset({"question", "choices", "answer", "hint", "lecture", "solution"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return science_columns(row)


def science_columns(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a problem of ScienceQA, without its image if that is a name."""
    image = row.get("image")
    return {
        **without(row, "image", "hint", "solution", "task"),
        "question": with_context(row["hint"], row["question"]),
        "answer": letter_of(row["answer"], row["choices"], "answer"),
        "rationale": row["solution"] or None,
        "images": [] if image in (None, "") else [image],
        "kind": row.get("subject"),
    }


@register
class AOkvqaFormat(QuestionLayout):
    """A-OKVQA: the index of the right choice, and rationales, of which the first counts. Released files name COCO's images of 2017."""

    name = "a_okvqa"
    description = "A-OKVQA: choices, correct_choice_idx, direct_answers, rationales"
    identified_by = (frozenset({"question_id", "question", "choices", "direct_answers"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if row.get("correct_choice_idx") is None:
            raise UnusableRowError(
                "correct_choice_idx",
                "is missing, as in the test split",
                "Leave the split out: data.splits={test: null}.",
            )
        number = row.get("image_id")
        named = f"{number:012}.jpg" if isinstance(number, int) else f"{number}.jpg"
        rationales = row.get("rationales")
        return {
            **without(row, "correct_choice_idx", "rationales", "image", "image_id", "direct_answers"),
            "id": row["question_id"],
            "answer": letter_of(row["correct_choice_idx"], row["choices"], "correct_choice_idx"),
            "rationale": rationales[0] if isinstance(rationales, list) and rationales else None,
            "images": [row["image"] if row.get("image") is not None else named],
        }


@register
class M3CotFormat(QuestionLayout):
    """M3CoT: a context before the question, and a rationale."""

    name = "m3cot"
    description = "M3CoT: context, choices, answer, rationale, domain, topic"
    identified_by = (frozenset({"question", "choices", "context", "answer", "rationale", "domain", "topic"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            **without(row, "context", "image", "image_id"),
            "question": with_context(row["context"], row["question"]),
            "images": [] if row.get("image") in (None, "") else [row["image"]],
            "kind": row["domain"],
        }


@register
class MmBenchFormat(QuestionLayout):
    """MMBench and other files for VLMEvalKit: ``hint`` is the context of the question, the image is base64, missing choices are empty."""

    name = "mmbench"
    description = "MMBench: index, question, hint, A, B, C, D, answer, category, image as base64"
    identified_by = (frozenset({"index", "question", "hint", "A", "B", "answer", "category", "image"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        letters = [letter for letter in string.ascii_uppercase if letter in row]
        return {
            **without(row, "index", "hint", "image", *letters),
            "id": row["index"],
            "question": with_context(row["hint"], row["question"]),
            "choices": [row[letter] for letter in letters if row[letter] not in (None, "")],
            "images": [row["image"]],
            "kind": row["category"],
        }


def letter_of(index: Any, choices: Any, field: str) -> str:
    """Return the letter of a choice by its index from 0.

    Raises:
        UnusableRowError: if the index is not that of a choice.
    """
    if not isinstance(choices, list) or not choices:
        raise UnusableRowError("choices", "is not a list of choices", 'Write ["7", "5"].')
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < min(len(choices), 26):
        raise UnusableRowError(
            field, f"{index!r} is not the number of one of the {len(choices)} choices", "Count the choices from 0."
        )
    return string.ascii_uppercase[index]


def with_context(context: Any, question: Any) -> Any:
    """Return a question below its context, if it has one."""
    return f"{context.strip()}\n{question}" if isinstance(context, str) and context.strip() and question else question
