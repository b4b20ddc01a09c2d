"""Question and answer of a row, in the forms that public datasets write them.

| column | what is read |
|---|---|
| question: a list of messages | the only one of the user, with the places of images among its parts |
| ``instruction`` and ``input``, ``context`` and ``question`` | both, on separate lines |
| answer: a message, or a list of messages | the last one of the assistant |
| ``solution``, ``response``, ``output``, ``completion``, ``chosen`` | the final answer, and as rationale what comes before it |
| ``answer``, if it ends with a final answer after reasoning | the same |
| rationale: a list of texts | all of them, with blank lines between |
| true, false, 1 or 0 as the answer to a question for yes or no | "yes" or "no" |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from vicur.config.formats import FieldName
from vicur.data.formats.columns import RESPONSES, folded, folded_names
from vicur.data.formats.messages import is_conversation, last_reply, placed_images, turns_and_images
from vicur.data.formats.responses import split_response
from vicur.data.formats.turns import ROLES
from vicur.data.row_columns import Match
from vicur.data.schema import UnusableRowError

NAMED = ("group", "kind", "system", "reference")
"""Values that become metadata by these names."""
_INPUTS = ("input", "inputs")
_CONTEXT = "context"
_TRUTHS: Mapping[Any, str] = {True: "yes", False: "no", "1": "yes", "0": "no"}  # True equals 1
_VERBS = "am|are|can|could|did|do|does|had|has|have|is|must|should|was|were|will|would"
# A question for yes or no: its last sentence begins with such a verb, perhaps after a clause.
_YES_OR_NO = re.compile(
    rf"(?:^|[.!?:>\n]\s*|,\s+)(?:{_VERBS})\b(?P<rest>[^.!?]*)\?\s*(?:\([^)]*\)|<[^>]*>)?\s*$", re.IGNORECASE
)
_ALTERNATIVE = re.compile(r"\bor\b", re.IGNORECASE)


def texts_of(found: Mapping[FieldName, Match], rest: MutableMapping[str, Any], question: str = "") -> dict[str, Any]:
    """Return the values of the fields of a row, with question and answer as texts.

    Args:
        rest: columns without a field. Those that are part of the question are taken out.
        question: question of a row that has none.

    Raises:
        UnusableRowError: if the question or the answer cannot be read.
    """
    values: dict[str, Any] = {field: match.value for field, match in found.items()}
    if "question" in found:
        _read_question(found["question"], values, rest)
    elif question:
        values["question"] = question
    rationale = values.get("rationale")
    if isinstance(rationale, list) and rationale and all(isinstance(each, str) for each in rationale):
        values["rationale"] = "\n\n".join(rationale)
    if "answer" in found:
        _read_answer(found["answer"], values)
    return values


def _read_question(match: Match, values: dict[str, Any], rest: MutableMapping[str, Any]) -> None:
    value = match.value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if is_conversation(value):
        value = _asked(value, match.column, values)
    if isinstance(value, str):
        names = folded_names(rest)
        if folded(match.column) == "instruction":
            value = "\n".join([value, *_taken(_INPUTS, names, rest)])
        value = "\n".join([*(each for each in _taken((_CONTEXT,), names, rest) if each not in value), value])
    values["question"] = value


def _taken(wanted: tuple[str, ...], names: Mapping[str, str], rest: MutableMapping[str, Any]) -> list[str]:
    """Take texts out of the columns without a field."""
    taken = []
    for name in wanted:
        column = names.get(name)
        if column is not None and isinstance(rest.get(column), str) and rest[column].strip():
            taken.append(rest.pop(column).strip())
    return taken


def _asked(messages: list[Any], column: str, values: dict[str, Any]) -> str:
    """Return the only question of a list of messages. Images that are parts of it, or whose places are, become those of the row."""
    turns, inline, videos = turns_and_images(messages, column)
    asked = [turn.text for turn in turns if ROLES.get(turn.role) == "user"]
    if len(asked) != 1 or any(ROLES.get(turn.role) == "assistant" for turn in turns):
        raise UnusableRowError(
            "question",
            f"is a conversation with {len(asked)} messages of the user",
            "Write one question in each row.",
        )
    if videos:
        raise UnusableRowError("question", "has a video among its parts", "Write it in the column video.")
    if inline:
        images = values.get("images", [])
        values["images"] = placed_images(inline, images if isinstance(images, list) else [images])
    system = "\n".join(turn.text for turn in turns if ROLES.get(turn.role) == "system")
    if system:
        values["system"] = system
    return asked[0]


def _read_answer(match: Match, values: dict[str, Any]) -> None:
    value = last_reply(match.value, match.column)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        value = _final(value, match, values)
    truth = _TRUTHS.get(value) if isinstance(value, bool | int | str) else None
    if truth is not None and "choices" not in values and _is_yes_or_no(values.get("question")):
        value = truth
    values["answer"] = value


def _final(text: str, match: Match, values: dict[str, Any]) -> str:
    """Return the final answer of a text. Reasoning before it becomes the rationale."""
    response = split_response(text)
    if response.reference is not None or folded(match.column.rpartition(".")[2]) in RESPONSES:
        if not response.answer:
            raise UnusableRowError(
                "answer", f"the {match.column} has no final answer", "Complete it, or leave the row out."
            )
        if response.rationale is not None:
            values.setdefault("rationale", response.rationale)
            values.setdefault("reference", text)
        return response.answer
    return text


def _is_yes_or_no(question: Any) -> bool:
    asked = _YES_OR_NO.search(question.strip()) if isinstance(question, str) else None
    return asked is not None and _ALTERNATIVE.search(asked["rest"]) is None
