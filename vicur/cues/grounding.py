"""Check whether a cue agrees with the dataset's knowledge of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicur.answers import evidence_is_right
from vicur.cues.statements import canonical, clauses, statement, truths

if TYPE_CHECKING:
    from vicur.data.schema import Example


def is_grounded(cue: str, example: Example) -> bool | None:
    """Return whether ``cue`` states all evidence that its question needs and nothing false about the image.

    Returns ``None`` if the example has no truth to compare with. Statements about anything unknown to the dataset are not checked.
    """
    known = truths(example)
    if not known:
        return None
    stated = [s for s in map(statement, clauses(canonical(cue))) if s is not None and s.subject in known]
    # Beyond the evidence, no other known part of the image (a different row, say) may be misread.
    if any(s.values != known[s.subject] for s in stated):
        return False
    # Without listed evidence, one true statement about a known part of the image is enough.
    complete = evidence_is_right(cue, example)
    return bool(stated) if complete is None else complete
