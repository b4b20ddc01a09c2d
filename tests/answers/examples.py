"""Examples in one line."""

from vicur.data.schema import Example


def example(answer: str, choices: tuple[str, ...] = (), **metadata: object) -> Example:
    """An example of which only what is asked for matters; not validated, so that any text may be tried."""
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
