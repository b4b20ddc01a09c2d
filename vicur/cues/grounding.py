"""Whether a cue agrees with what the dataset knows to be in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicur.answers import evidence_is_right
from vicur.cues.statements import canonical, clauses, statement, truths

if TYPE_CHECKING:
    from vicur.data.schema import Example


def is_grounded(cue: str, example: Example) -> bool | None:
    """Whether ``cue`` says all the evidence that its question asks for, and nothing of the image that is wrong.

    The evidence is checked by the rule that responses are checked by. Beyond it, no statement about a known part of the
    image (another row of a scene, say) may be false. What the dataset knows nothing about is left to whoever reads the
    samples.

    Returns:
        ``None`` where the example holds no truth to compare with.
    """
    known = truths(example)
    if not known:
        return None
    stated = [s for s in map(statement, clauses(canonical(cue))) if s is not None and s.subject in known]
    if any(s.values != known[s.subject] for s in stated):
        return False
    complete = evidence_is_right(cue, example)
    return bool(stated) if complete is None else complete
