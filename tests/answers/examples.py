"""Short construction of examples."""

from vicur.data.schema import Example


def example(answer: str, choices: tuple[str, ...] = (), **metadata: object) -> Example:
    """Build an example from the fields that a test needs. Not validated, so that it accepts any text."""
    return Example.model_construct(
        id="1",
        images=(b"png",),
        question="?",
        choices=choices,
        answer=answer,
        rationale=None,
        cue=None,
        source="test",
        split="test",
        metadata=metadata,
    )
