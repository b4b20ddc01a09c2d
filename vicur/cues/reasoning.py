"""Words that belong to a solution, not to a description: a cue says what is to be seen, never a theorem or a step (arXiv 2606.05718)."""

from __future__ import annotations

import re

# Words that pictures show as well (a divided chord, a total in a table, a product on a shelf) count only where they compute.
_REASONING = re.compile(
    r"""\b(?:
        theorems? | lemmas? | axioms? | formulas? | formulae | equations? | identit(?:y|ies) | proofs? | proves? | proving |
        therefore | thus | hence | consequently | because | impl(?:y|ies|ied|ying) | it\ follows | conclu(?:de|des|ded|ding|sion) |
        plus | minus | times(?=\s+\d) | multipl(?:y|ies|ied|ying) | divided\ by | dividing | add(?:s|ed|ing)? | subtract(?:s|ed|ing)? |
        sums? | difference | product\ of | quotient | equals? | equat(?:e|es|ed|ing) |
        calculat(?:e|es|ed|ing|ion) | comput(?:e|es|ed|ing|ation) | solv(?:e|es|ed|ing) | solutions? | appl(?:y|ies|ied|ying) |
        substitut(?:e|es|ed|ing|ion) | simplif(?:y|ies|ied|ying) | deriv(?:e|es|ed|ing|ation) | answers?
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


def reasoning_words(cue: str) -> tuple[str, ...]:
    """The words of ``cue`` that speak of a solution step, in lower case, each once, in order of appearance."""
    return tuple(dict.fromkeys(match[0].lower() for match in _REASONING.finditer(cue)))
