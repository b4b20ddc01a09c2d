"""Turn a conversation into the columns of questions: one for each question of the user.

- A question and the response that follows it are a separate row. Its prompt does not show earlier turns.
- Markers ``<image>`` in the user's turns mean the images in order. A question with markers gets the images of its markers; one without
  gets all images shown so far, or all images if the conversation has no markers.
- A conversation that ends with a question is answered by a column of the row, if there is one.
- A system turn is kept in ``metadata.system``; prompts use ``data.system_prompt``.
- A response is split by :func:`vicur.data.formats.responses.split_response`; the whole of it is kept in ``metadata.reference``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vicur.data.formats.columns import PUBLIC
from vicur.data.formats.responses import split_response
from vicur.data.row_values import text_of
from vicur.data.schema import Fault

Role = Literal["system", "user", "assistant"]
ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}
"""Roles by their names in public datasets."""

# A label may be that of a classifier of conversations.
_ANSWERS = tuple(name for name in PUBLIC["answer"] if name not in ("label", "target"))
_MARKER = re.compile(r"<image>")
_NUMBERED = re.compile(r"<image ?\d+>")


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation."""

    role: str
    """As the source calls it."""
    text: str


def paired(value: Any) -> list[Turn] | None:
    """Return the two turns of an element such as ``{"human": "...", "assistant": "..."}``, or ``None`` for another value."""
    if not isinstance(value, dict) or "role" in value or "from" in value:
        return None
    asks = next((name for name in ("user", "human") if name in value), None)
    replies = next((name for name in ("assistant", "gpt", "bot") if name in value), None)
    return None if asks is None or replies is None else [Turn(asks, value[asks]), Turn(replies, value[replies])]


def answered(turns: list[Turn], row: Mapping[str, Any]) -> tuple[list[Turn], tuple[str, ...]]:
    """Add the answer of a row to a conversation that ends with a question, and return the columns that have it.

    The answer is a column (``answer``, ``solution``, ``chosen``), as text, number or message.
    """
    if not turns or ROLES.get(turns[-1].role) != "user":
        return turns, ()
    name = next((each for each in _ANSWERS if row.get(each) not in (None, "", [])), None)
    if name is None:
        return turns, ()
    return [*turns, Turn("assistant", _reply(row[name], name))], (name,)


def _reply(value: Any, field: str) -> str:
    message = value[-1] if isinstance(value, list) and value else value
    if isinstance(message, Mapping):
        message = message.get("value", message.get("content"))
    if isinstance(message, list) and len(message) == 1 and isinstance(message[0], Mapping):
        message = message[0].get("text")
    return text_of(message, field)


@dataclass(frozen=True)
class Pair:
    """A question and its response, or why they cannot be used."""

    columns: Mapping[str, Any] | Fault


def pairs(turns: Sequence[Turn], images: Sequence[Any], identifier: Any, field: str) -> Iterator[Pair]:
    """Yield each question of a conversation with its response, as columns ``id``, ``question``, ``answer``, ``images`` and so on.

    Args:
        images: images of the whole conversation, in the order of their markers.
        identifier: id of the conversation, to which several questions append their number.
        field: column of the conversation, for faults.
    """
    fault = _fault(turns, len(images), field)
    if fault is not None:
        yield Pair(fault)
        return
    system = "\n".join(turn.text for turn in turns if ROLES[turn.role] == "system")
    spoken = [turn for turn in turns if ROLES[turn.role] != "system"]
    questions, responses = spoken[::2], spoken[1::2]
    marked = any(_MARKER.search(turn.text) for turn in questions)
    shown = 0
    for number, (question, response) in enumerate(zip(questions, responses, strict=True), start=1):
        count = len(_MARKER.findall(question.text))
        # Numbered markers refer to the images of the whole conversation.
        is_whole = not marked or _NUMBERED.search(question.text)
        selected = images if is_whole else images[shown : shown + count] if count else images[:shown]
        shown += count
        found = split_response(response.text)
        if not found.answer:
            reason = f"the response to question {number} has no answer"
            yield Pair(Fault(field=field, reason=reason, remedy="Complete the response, or leave the row out."))
            continue
        metadata = {"system": system, "reference": found.reference}
        columns: dict[str, Any] = {
            "question": question.text.strip(),
            "images": list(selected),
            "answer": found.answer,
            "rationale": found.rationale,
            "metadata": {key: value for key, value in metadata.items() if value},
        }
        if identifier not in (None, ""):
            columns["id"] = identifier if len(questions) == 1 else f"{identifier}-{number}"
        yield Pair(columns)


def _fault(turns: Sequence[Turn], images: int, field: str) -> Fault | None:
    for place, turn in enumerate(turns):
        if turn.role not in ROLES:
            return Fault(
                field=f"{field}[{place}]",
                reason=f"is a turn of {turn.role!r}, which is neither the user nor the assistant",
                remedy=f"Use the roles {', '.join(ROLES)}, or leave the row out.",
            )
    spoken = [(place, ROLES[turn.role]) for place, turn in enumerate(turns) if ROLES[turn.role] != "system"]
    for number, (place, role) in enumerate(spoken):
        wanted: Role = "assistant" if number % 2 else "user"
        if role != wanted:
            return Fault(
                field=f"{field}[{place}]",
                reason=f"is a turn of the {role} where one of the {wanted} should be",
                remedy="Write questions and responses in turn, beginning with a question.",
            )
    if not spoken or len(spoken) % 2:
        return Fault(
            field=field,
            reason="ends with a question that has no response" if spoken else "has no question",
            remedy="Add the response, or leave the row out.",
        )
    markers = sum(len(_MARKER.findall(turns[place].text)) for place, role in spoken if role == "user")
    if markers and markers != images:
        return Fault(
            field="images",
            reason=f"the conversation has {markers} marker{'' if markers == 1 else 's'} <image>, but {images} image"
            f"{'' if images == 1 else 's'}",
            remedy="Write one marker for each image, or none at all.",
        )
    return None
