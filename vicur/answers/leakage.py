"""Hint leakage: responses that speak of a hint that only the teacher was shown."""

from __future__ import annotations

import re

_HINT = re.compile(r"\bhint\b", re.IGNORECASE)


def hint_leaks(response: str) -> int:
    """How often the whole word "Hint", in any case, stands in ``response`` (arXiv 2606.05718, diagnostics)."""
    return sum(1 for _ in _HINT.finditer(response))
