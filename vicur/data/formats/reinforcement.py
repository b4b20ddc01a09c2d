r"""Layouts of reinforcement learning: verl's columns, and MM-Math's solutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicur.data.formats.conversations import image_list, turns_of
from vicur.data.formats.json_values import object_or_fault
from vicur.data.formats.registry import register
from vicur.data.formats.responses import split_response
from vicur.data.formats.row_layout import QuestionLayout, without
from vicur.data.formats.turns import ROLES
from vicur.data.schema import UnusableRowError

_LARGEST_EXAMPLE = 16 << 20  # characters


@register
class VerlFormat(QuestionLayout):
    """verl: a prompt of messages, and the answer in ``reward_model.ground_truth``.

    Rows that ``vicur data export`` wrote have all fields in ``extra_info.example``.

    ``extra_info.question`` is the question if it is there, because the prompt often ends with instructions on the form of the answer.
    """

    name = "verl"
    description = "verl: data_source, prompt, images, reward_model.ground_truth, extra_info"
    identified_by = (frozenset({"prompt", "reward_model"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        reward, extra = row["reward_model"], row.get("extra_info")
        extra = extra if isinstance(extra, Mapping) else {}
        if not isinstance(reward, Mapping) or reward.get("ground_truth") in (None, ""):
            raise UnusableRowError(
                "reward_model", "has no ground_truth", "Write the answer as ground_truth, or leave the row out."
            )
        if (exported := _exported(extra.get("example"), image_list(row))) is not None:
            return {**exported, "split": extra.get("split")}
        found = turns_of(row["prompt"], "prompt")
        asked = [turn.text for turn in found if ROLES.get(turn.role) == "user"]
        system = [turn.text for turn in found if ROLES.get(turn.role) == "system"]
        if len(asked) != 1:
            raise UnusableRowError(
                "prompt", f"has {len(asked)} user messages, not one", "Write one question in each row."
            )
        question = extra.get("question")
        is_known = isinstance(question, str) and bool(question.strip())
        # Markers say where the images are; a question that lost them does not.
        is_known = is_known and str(question).count("<image>") == asked[0].count("<image>")
        return {
            **without(row, "prompt", "reward_model", "extra_info", "images", "image", "ability", "data_source"),
            "question": question if is_known else asked[0],
            "answer": reward["ground_truth"],
            "images": image_list(row),
            "source": row.get("data_source"),
            "split": extra.get("split"),
            "kind": row.get("ability"),
            "metadata": {"system": "\n".join(system)} if system else {},
        }


def _exported(text: Any, images: list[Any]) -> dict[str, Any] | None:
    """Return the fields in ``extra_info.example``, or ``None`` if the row is not an exported one."""
    fields = object_or_fault(text.encode()) if isinstance(text, str) and len(text) <= _LARGEST_EXAMPLE else None
    if not isinstance(fields, dict):
        return None
    places = fields.get("images", [])
    if not isinstance(places, list) or not all(type(n) is int and 0 <= n < len(images) for n in places):
        return None
    return {**fields, "images": [images[number] for number in places]}


@register
class MmMathFormat(QuestionLayout):
    r"""MM-Math: the answer is the ``\boxed{}`` value of the solution; images are named without their folder."""

    name = "mm_math"
    description = "MM-Math: question, file_name, solution with \\boxed{}, difficult, knowledge"
    identified_by = (frozenset({"question", "file_name", "solution", "difficult"}),)

    def question(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        solution = split_response(row["solution"]) if isinstance(row["solution"], str) else None
        if solution is None or solution.reference is None:
            raise UnusableRowError(
                "solution", "has no final answer in \\boxed{}", "Add the answer, or leave the row out."
            )
        return {
            **without(row, "file_name", "solution"),
            "answer": solution.answer,
            "rationale": solution.rationale,
            "images": [] if row["file_name"] in (None, "") else [row["file_name"]],
            "kind": row["difficult"],
            "metadata": {"reference": solution.reference},
        }
