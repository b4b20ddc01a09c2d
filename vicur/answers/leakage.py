"""Hint leakage: responses that mention the hint, which only the teacher's prompt contains."""

from __future__ import annotations

import re

_HINT = re.compile(r"\bhint\b", re.IGNORECASE)


def hint_leaks(response: str) -> int:
    """Count occurrences of the whole word "Hint" in ``response``, ignoring case (arXiv 2606.05718, diagnostics)."""
    return sum(1 for _ in _HINT.finditer(response))
