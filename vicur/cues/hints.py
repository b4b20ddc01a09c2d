"""The hint: the privilege as it stands in the teacher's prompt.

The one place that forms it. The paper writes it as ``[Hint]: ...`` in the teacher's prompt and in no other; the word
"Hint" in a student's response is therefore a sign of leakage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    from vicur.data.schema import Example

Privilege = Literal["answer", "rationale", "cue", "solution", "none"]
"""What the teacher knows and the student does not. ``solution`` (evidence, step and answer) only pretrains a base."""

HINT_MARKER = "[Hint]:"


def hint_for(privilege: Privilege, example: Example, cue: str | None) -> str | None:
    """Return the hint text, without its marker, that ``privilege`` gives for an example.

    Returns ``None`` for the privilege ``none`` and for an example without the requested privilege, which cannot be trained on because its
    teacher would equal the student.
    """
    text: str | None
    match privilege:
        case "answer":
            text = f"Answer: {example.answer}"
        case "rationale":
            text = example.rationale
        case "cue":
            text = cue  # from the cue provider; the example's annotation is not used
        case "solution":
            text = example.metadata.get("reference")
        case "none":
            text = None
        case _:
            assert_never(privilege)
    return (text.strip() or None) if text is not None else None


def with_hint(question: str, hint: str | None) -> str:
    """Return the teacher's user text: the question, followed by the hint if there is one."""
    return question if hint is None else f"{question}\n{HINT_MARKER} {hint}"
