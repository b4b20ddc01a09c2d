"""Benchmarks of mathematical and multi-disciplinary reasoning, in the columns that their authors release.

Hidden answers (of MMMU's and MathVista's test splits) make a row unusable; leave such a split out with ``data.splits={test: null}``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vicur.data.formats.registry import register
from vicur.data.formats.row_layout import QuestionLayout, RowLayout, without
from vicur.data.schema import Fault, UnusableRowError


def _hidden() -> UnusableRowError:
    return UnusableRowError(
        "answer",
        "is hidden, as in the test split of a public benchmark",
        "Leave the split out: data.splits={test: null}.",
    )


@register
class MmmuFormat(QuestionLayout):
    """MMMU and MMMU-Pro: ``image_1`` to ``image_7``, and choices as the text of a Python list."""

    name = "mmmu"
    description = "MMMU: image_1 ... image_7, options as a Python list, <image 1> in question and options"
    identified_by = (frozenset({"id", "question", "options", "answer", "image_1", "topic_difficulty"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        numbered = [f"image_{place}" for place in range(1, 8)]
        images = [row[name] for name in numbered if row.get(name) is not None]
        answers = _literal_list(row["answer"])
        if answers == ["?"]:
            raise _hidden()
        more = {"answers": answers} if len(answers) > 1 else {}
        return {
            **without(row, *numbered, "options", "question_type", "explanation"),
            "images": images,
            "choices": _literal_list(row["options"]) if row["options"] else [],
            "answer": answers[0] if answers else None,
            "rationale": row.get("explanation") or None,
            "kind": row.get("subfield"),
            "metadata": more,
        }


@register
class MathVistaFormat(QuestionLayout):
    """MathVista: the answer is the text of a choice, or a number."""

    name = "mathvista"
    description = "MathVista: pid, decoded_image, choices, precision, query"
    identified_by = (frozenset({"pid", "question", "decoded_image", "choices", "answer", "precision"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if row["answer"] in (None, ""):
            raise _hidden()
        return {
            **without(row, "pid", "image", "decoded_image", "query", "question_type"),
            "id": row["pid"],
            "images": [row["decoded_image"]],
            "kind": (row.get("metadata") or {}).get("task"),
        }


@register
class MathVerseFormat(QuestionLayout):
    """MathVerse: several versions of each problem, with choices inside the question.

    In the version "Vision Only" the question is part of the image, so the benchmark's prompt (``query_wo``) takes its place.
    """

    name = "mathverse"
    description = "MathVerse: problem_version, query_wo, question_for_eval"
    identified_by = (frozenset({"sample_index", "problem_index", "problem_version", "question", "image", "answer"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            **without(row, "sample_index", "question_for_eval", "query_cot", "query_wo", "question_type"),
            "id": row["sample_index"],
            "question": row["question"] or row.get("query_wo"),
            "images": [] if row["image"] in (None, "") else [row["image"]],
            # The versions of a problem are not independent.
            "group": row["problem_index"],
            "kind": row["problem_version"],
        }


@register
class WeMathFormat(QuestionLayout):
    """We-Math: a problem and its steps share an id; the choices are one text."""

    name = "we_math"
    description = "We-Math: ID, option, image_path, key, knowledge concept"
    identified_by = (frozenset({"ID", "question", "option", "answer", "image_path", "key"}),)

    _LETTER = re.compile(r"(?:^|;)\s*(?=[A-Z]\s*[.:)])")

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        parts = [part.strip(" ;\n") for part in self._LETTER.split(row["option"] or "") if part.strip(" ;\n")]
        return {
            **without(row, "ID", "option", "image_path"),
            "id": f"{row['ID']}/{row['key']}",
            "choices": [re.sub(r"^[A-Z]\s*[.:)]\s*", "", part) for part in parts],
            "images": [row["image_path"]],
            "group": row["ID"],
            "kind": row.get("knowledge concept"),
        }


@register
class DynaMathFormat(RowLayout):
    """DynaMath: variants of each problem in separate files, with the same ids."""

    name = "dynamath"
    description = "DynaMath: decoded_image, ground_truth, knowledge_level"
    identified_by = (frozenset({"id", "question", "decoded_image", "ground_truth", "knowledge_level"}),)
    default_split = "test"

    def reshaped(self, row: Mapping[str, Any], file: str) -> Iterator[Mapping[str, Any] | Fault]:
        stem = re.split(r"[-.]", file.rpartition("/")[2])[0]
        yield {
            **without(row, "image", "decoded_image", "ground_truth"),
            "id": f"{stem}/{row['id']}",
            "answer": row["ground_truth"],
            "images": [row["decoded_image"]],
            "group": str(row["id"]),
            "kind": row.get("subject"),
        }


@register
class MathVisionFormat(QuestionLayout):
    """MATH-Vision: the image both as a path and in the row."""

    name = "math_vision"
    description = "MATH-Vision: decoded_image, options, level, subject"
    identified_by = (frozenset({"id", "question", "options", "decoded_image", "answer", "level", "subject"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            **without(row, "image", "decoded_image", "options", "solution"),
            "choices": row["options"] or [],
            "images": [row["decoded_image"]],
            "rationale": row.get("solution"),
            "kind": row["subject"],
        }


def _literal_list(text: Any) -> list[Any]:
    """Return a list that is written as Python writes it; other texts are a list of one."""
    if isinstance(text, str) and text.lstrip().startswith("[") and len(text) < 1 << 16:
        try:
            # Only literals: nothing is run.
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return [text]
        return value if isinstance(value, list) else [text]
    return [] if text in (None, "") else [text]
