"""The hint: the privilege as it stands in the teacher's prompt.

The one place that forms it. The paper writes it as ``[Hint]: ...`` in the teacher's prompt and in no other; the word
"Hint" in a student's response is therefore a sign of leakage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from vicur.data.schema import Example

Privilege = Literal["answer", "rationale", "cue", "solution", "none"]
"""What the teacher knows and the student does not. ``solution`` (evidence, step and answer) only pretrains a base."""

HINT_MARKER = "[Hint]:"


def hint_for(privilege: Privilege, example: Example, cue: str | None) -> str | None:
    """Text of the hint that ``privilege`` gives for an example.

    Args:
        privilege: which privilege the teacher has.
        example: the example; its own ``cue`` field is not looked at.
        cue: the example's cue as a cue provider extracted it, if it has one.

    Returns:
        The text without its marker, or ``None`` for the privilege ``none`` and for an example that lacks the privilege
        asked for (such an example cannot be taught: its teacher would be the student).
    """
    texts: dict[Privilege, str | None] = {
        "answer": f"Answer: {example.answer}",
        "rationale": example.rationale,
        "cue": cue,
        "solution": example.metadata.get("reference"),
        "none": None,
    }
    text = texts[privilege]
    return (text.strip() or None) if text is not None else None


def with_hint(question: str, hint: str | None) -> str:
    """The teacher's user text: the question, and below it the hint where there is one."""
    return question if hint is None else f"{question}\n{HINT_MARKER} {hint}"
