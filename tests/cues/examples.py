"""Short construction of examples."""

from __future__ import annotations

from typing import Any

from vicur.data.schema import Example

RED_AND_BLUE = [{"subject": "red digit", "value": 7}, {"subject": "blue digit", "value": 5}]
LEFT_COLUMN = [{"subject": "left column", "value": [7, 5]}]


def example(
    question: str = "?", answer: str = "12", *, choices: tuple[str, ...] = (), cue: str | None = None, **metadata: Any
) -> Example:
    """Build an example from the fields that a test needs. Not validated, because the audit must accept any text."""
    return Example.model_construct(
        id="one",
        images=(),
        question=question,
        choices=choices,
        answer=answer,
        cue=cue,
        source="test",
        split="distill",
        metadata=metadata,
    )
