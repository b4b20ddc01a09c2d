"""Reference responses, for supervised training."""

from __future__ import annotations

from vicur.data.schema import Example


def reference_response(example: Example) -> str | None:
    """A whole right response to an example's question: its ``reference``, else its rationale with the answer below.

    Returns:
        The text, or ``None`` where the example has neither.
    """
    reference = example.metadata.get("reference")
    if isinstance(reference, str) and reference.strip():
        return reference.strip()
    if example.rationale is None or not example.rationale.strip():
        return None
    return f"{example.rationale.strip()}\nAnswer: {example.answer}"
