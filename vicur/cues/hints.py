"""The hint: the privilege as it stands in the teacher's prompt.

The one place that forms it. The paper writes it as ``[Hint]: ...`` in the teacher's prompt and in no other; the word
"Hint" in a student's response is therefore a sign of leakage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

from vicur.prompts import Content, answer_text, with_text

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
            text = f"Answer: {answer_text(example.answer, example.choices)}"
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


def with_hint(content: Content, hint: str | None) -> Content:
    """Return the content of the teacher's turn: that of the student's, followed by the hint if there is one."""
    return content if hint is None else with_text(content, f"\n{HINT_MARKER} {hint}")
