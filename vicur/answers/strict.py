r"""The strict extractor, for rewards: one clear final answer, or none.

It accepts the same forms as the lenient one, and a response of up to three words. It gives no answer if

- the reasoning never ends (``<think>`` without ``</think>``), or the answer appears only inside it or in a closing sentence,
- boxes, tags, JSON or sentences state different answers, or a marker and a box disagree,
- the text behind the answer weighs another one ("or", "alternatively", "wait").

Of several lines ``Answer: X``, the last one counts: a response to several questions has one for each.
"""

from __future__ import annotations

import re

from vicur.answers.compare import same_value
from vicur.answers.extract import Statement, bare_answer, joined, statements
from vicur.answers.forms import MARKERS, THOUGHT_END, THOUGHT_START
from vicur.answers.notation import plain, visible

_SECOND_THOUGHT = re.compile(
    r"\b(?:or|alternatively|maybe|perhaps|possibly|could|might|not sure|unsure|wait|hmm|actually|on second thought)\b",
    re.IGNORECASE,
)
_BEHIND = 300
_DIFFER = ("box", "tag", "json", "hashes", "sentence")


def strict_answer(response: str) -> str | None:
    """Return the one final answer that ``response`` states, or ``None`` if it states none or hedges."""
    _, ended, text = visible(response).rpartition(THOUGHT_END)
    if not ended and THOUGHT_START in text:
        return None
    found = statements(text)
    if not found:
        return None if any(pattern.search(text) for pattern in MARKERS) else bare_answer(text)
    if len(found) == 1 and found[0].end >= len(text.rstrip()) - 1:
        return found[0].text
    answer = joined(found, text)
    if _SECOND_THOUGHT.search(text[found[-1].end : found[-1].end + _BEHIND]):
        return None
    return answer if answer != found[-1].text or _agree(found) else None


def _agree(found: list[Statement]) -> bool:
    """Return whether all statements are the last one, not counting earlier lines of the form ``Answer: X``."""
    markers = [each for each in found if each.form == "marker"]
    counted = [each for each in found if each.form in _DIFFER] + markers[-1:]
    last = plain(counted[-1].text)
    return all(same_value(last, plain(each.text)) for each in counted)
