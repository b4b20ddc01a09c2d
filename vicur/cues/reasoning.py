"""Words that belong to a solution rather than a description.

A cue states what the image shows, never a theorem or a step (arXiv 2606.05718, figure 1). The audit counts and shows cues with such words
but does not reject them, because the image may contain the word itself (a formula on a blackboard).
"""

from __future__ import annotations

import re

# Words that also describe images (a divided chord, a product on a shelf, times on a clock) count only if they
# describe a computation.
_REASONING = re.compile(
    r"""\b(?:
        theorems? | lemmas? | axioms? | formulas? | formulae | equations? | identit(?:y|ies) | proofs? |
        prov(?:es?|ing) | therefore | thus | hence | consequently | because | impl(?:y|ies|ied|ying) | it\ follows |
        conclu(?:de|des|ded|ding|sion) | calculat(?:e|es|ed|ing|ion) | comput(?:e|es|ed|ing|ation) |
        plus | minus | times(?=\s+\d) | multipl(?:y|ies|ied|ying) | divided\ by | dividing | add(?:s|ed|ing)? |
        subtract(?:s|ed|ing)? | sums? | difference | product\ of | quotient | equals? | equat(?:e|es|ed|ing) |
        solv(?:e|es|ed|ing) | solutions? | answers? | appl(?:y|ies|ied|ying) | substitut(?:e|es|ed|ing|ion) |
        simplif(?:y|ies|ied|ying) | deriv(?:e|es|ed|ing|ation)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


def reasoning_words(cue: str) -> tuple[str, ...]:
    """Return the solution words of ``cue``, in lower case, without duplicates, in order of appearance."""
    return tuple(dict.fromkeys(match[0].lower() for match in _REASONING.finditer(cue)))
