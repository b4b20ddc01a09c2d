r"""Split a response of a public dataset into its reasoning and its final answer.

| response | reasoning | answer |
|---|---|---|
| ``<think>A</think><answer>Final Answer: B</answer>`` | A | B |
| ``<SUMMARY>A</SUMMARY> ... <CONCLUSION>B</CONCLUSION>`` (LLaVA-CoT) | A ... | B |
| ``A\n#### B``, ``A\n**Final Answer**\nB``, "A. The answer is B." | A | B |
| ``A, which is \boxed{B}.`` | all of it | B |
| anything else | none | all of it |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vicur.answers.extract import Statement, joined, statements
from vicur.answers.forms import THOUGHT_END, THOUGHT_START

_STAGE_TAG = re.compile(r"[ \t]*</?(?:SUMMARY|CAPTION|REASONING|CONCLUSION)>[ \t]*")
_CONCLUSION = "<CONCLUSION>"
_OPENING = re.compile(r"[^.!?\n]*\Z")
_OPENING_WORDS = 3  # such as "So, the" before "final answer is 5"


@dataclass(frozen=True)
class Response:
    """A response, taken apart."""

    answer: str
    """The final answer; blank if the response has none."""
    rationale: str | None
    """The reasoning before it, if any."""
    reference: str | None
    """The whole response, if it is more than the answer."""


def split_response(text: str) -> Response:
    """Split a response as the table of this module says. An answer that is not in one of the forms is the whole text."""
    thought, ended, rest = text.rpartition(THOUGHT_END)
    if not ended and THOUGHT_START in text:
        # The reasoning was cut off, so there is no answer.
        return Response("", text.replace(THOUGHT_START, "").strip() or None, text)
    reasoning = [thought.replace(THOUGHT_START, "").strip()]
    before, marked, concluded = rest.rpartition(_CONCLUSION)
    if marked:
        reasoning.append(_STAGE_TAG.sub("", before).strip())
        rest = _STAGE_TAG.sub("", concluded).strip()
    found = statements(rest)
    if found:
        answer = joined(found, rest)
        reasoning.append(_before(found, rest))
        reasoning = [part for part in reasoning if not _is_only(answer, part)]
    else:
        answer = rest.strip()
    rationale = "\n\n".join(part for part in reasoning if part)
    return Response(answer, rationale or None, text if rationale else None)


def _before(found: list[Statement], text: str) -> str:
    """Return the text before the last statement, or all of it if the statement is part of a sentence that derives it."""
    last = found[-1]
    # In "<answer>Final Answer: B</answer>", one statement is inside another.
    start = min(each.start for each in found if each.end >= last.start)
    opening = _OPENING.search(text, 0, start)
    if last.form == "box" or (last.form != "tag" and opening and len(opening[0].split()) > _OPENING_WORDS):
        return text.strip()
    return text[: opening.start() if opening else start].strip()


def _is_only(answer: str, text: str) -> bool:
    r"""Return whether a text says nothing but the answer, as ``$\boxed{12}$`` does."""
    return not re.sub(r"[\W_]|boxed|fbox", "", text.replace(answer, "", 1), flags=re.IGNORECASE)
