"""Hint leakage: responses that mention the hint, which only the teacher's prompt contains."""

from __future__ import annotations

import re

_HINT = re.compile(r"\bhint\b", re.IGNORECASE)
_MARKER = re.compile(r"\[\s*hint\s*\]", re.IGNORECASE)


def hint_leaks(response: str, question: str = "") -> int:
    """Count occurrences of the whole word "Hint" in ``response``, ignoring case (arXiv 2606.05718, diagnostics).

    If the question itself contains the word, only the marker ``[Hint]`` of the teacher's prompt counts.
    """
    pattern = _MARKER if _HINT.search(question) else _HINT
    return sum(1 for _ in pattern.finditer(response))
