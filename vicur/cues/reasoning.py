"""Words that belong to a solution, not to a description.

A cue says what is to be seen, never a theorem or a step (arXiv 2606.05718, figure 1). The audit counts cues with such
words and shows them; it does not reject them, since a picture can hold the word itself (a formula on a blackboard).
"""

from __future__ import annotations

import re

# Words that pictures show as well (a divided chord, a product on a shelf, times on a clock) count only where they
# compute.
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
    """The words of ``cue`` that speak of a solution step, in lower case, each once, in order of appearance."""
    return tuple(dict.fromkeys(match[0].lower() for match in _REASONING.finditer(cue)))
