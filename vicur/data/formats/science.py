"""Multiple-choice questions whose answer is the number or letter of a choice: ScienceQA, A-OKVQA, M3CoT and TabMWP."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.benchmarks import without
from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import RowLayout
from vicur.data.schema import Fault


@register
class ScienceQaParquetFormat(RowLayout):
    """ScienceQA as on the Hub. ``hint`` is the context of the question, and the solution its rationale."""

    name = "scienceqa"
    description = "ScienceQA: hint, lecture, solution, and the number of the right choice"
    identified_by = (frozenset({"question", "choices", "answer", "hint", "lecture", "solution"}),)

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        yield science_columns(row)


def science_columns(row: Mapping[str, Any]) -> Mapping[str, Any] | Fault:
    """Return the fields of a problem of ScienceQA, without its image if that is a name."""
    letter = letter_of(row["answer"], row["choices"], "answer")
    if isinstance(letter, Fault):
        return letter
    image = row.get("image")
    return {
        **without(row, "image", "hint", "solution", "task"),
        "question": with_context(row["hint"], row["question"]),
        "answer": letter,
        "rationale": row["solution"] or None,
        "images": [] if image in (None, "") else [image],
        "kind": row.get("subject"),
    }


@register
class AOkvqaFormat(RowLayout):
    """A-OKVQA: the index of the right choice, and rationales, of which the first counts. Released files name COCO's images of 2017."""

    name = "a_okvqa"
    description = "A-OKVQA: choices, correct_choice_idx, direct_answers, rationales"
    identified_by = (frozenset({"question_id", "question", "choices", "direct_answers"}),)

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        if row.get("correct_choice_idx") is None:
            yield Fault(
                field="correct_choice_idx",
                reason="is missing, as in the test split",
                remedy="Leave the split out: data.splits={test: null}.",
            )
            return
        letter = letter_of(row["correct_choice_idx"], row["choices"], "correct_choice_idx")
        if isinstance(letter, Fault):
            yield letter
            return
        number = row.get("image_id")
        named = f"{number:012}.jpg" if isinstance(number, int) else f"{number}.jpg"
        rationales = row.get("rationales")
        yield {
            **without(row, "correct_choice_idx", "rationales", "image", "image_id", "direct_answers"),
            "id": row["question_id"],
            "answer": letter,
            "rationale": rationales[0] if isinstance(rationales, list) and rationales else None,
            "images": [row["image"] if row.get("image") is not None else named],
        }


@register
class M3CotFormat(RowLayout):
    """M3CoT: a context before the question, and a rationale."""

    name = "m3cot"
    description = "M3CoT: context, choices, answer, rationale, domain, topic"
    identified_by = (frozenset({"question", "choices", "context", "answer", "rationale", "domain", "topic"}),)

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:  # noqa: ARG002
        yield {
            **without(row, "context", "image", "image_id"),
            "question": with_context(row["context"], row["question"]),
            "images": [] if row.get("image") in (None, "") else [row["image"]],
            "kind": row["domain"],
        }


def letter_of(index: Any, choices: Any, field: str) -> str | Fault:
    """Return the letter of a choice by its index from 0, or a fault."""
    if not isinstance(choices, list) or not choices:
        return Fault(field="choices", reason="is not a list of choices", remedy='Write ["7", "5"].')
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < min(len(choices), 26):
        return Fault(
            field=field,
            reason=f"{index!r} is not the number of one of the {len(choices)} choices",
            remedy="Count the choices from 0.",
        )
    return string.ascii_uppercase[index]


def with_context(context: Any, question: Any) -> Any:
    """Return a question below its context, if it has one."""
    return f"{context.strip()}\n{question}" if isinstance(context, str) and context.strip() and question else question
