"""Compare the evidence that a response states with the evidence listed in the example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

from vicur.answers.normal import normal_text

_VERB = r"(?:is|are|was|were|holds?|contains?|shows?|has|have|reads?|equals?)"
_ITEM = r"(?:[-−]?\d+(?:\.\d+)?|[^\W\d_]+)"
_SEPARATOR = r"(?:\s*,\s*(?:and\s+)?|\s+and\s+)"
_LIST = re.compile(rf"{_ITEM}(?:{_SEPARATOR}{_ITEM})*")
_NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_HAS_VERB = re.compile(rf"\b{_VERB}\b")
_CONJUNCTION = re.compile(r"\b(?:and|or)\s*$")
# "The sum of the red digit is 12" states a sum, not the digit.
_NOT_ABOUT_IT = re.compile(r"\b(?:of|between|from|than|to|with|plus|minus|times|by|in)\s*$")


class HasEvidence(Protocol):
    """Part of an example that evidence is compared with."""

    @property
    def metadata(self) -> dict[str, Any]: ...


def evidence_is_right(response: str, example: HasEvidence) -> bool | None:
    """Return whether ``response`` states every piece of evidence of ``example`` and contradicts none.

    A statement has the form "<subject> <verb> <values>" ("the red digit is 7", "the left column holds 7 and 5"), with the values of a list
    in reading order. ``metadata["evidence"]`` lists ``{"subject": str, "value": value or list of values}``; without it, the result is
    ``None``.
    """
    evidence = [e for e in example.metadata.get("evidence") or () if isinstance(e, dict) and e.get("subject")]
    if not evidence:
        return None
    return all(_agrees(response, str(e["subject"]), _values(e.get("value"))) for e in evidence)


def _agrees(response: str, subject: str, expected: list[str]) -> bool:
    statements = list(_statements(response, subject))
    return bool(statements) and all(_says(text, expected) for text in statements)


def _values(value: Any) -> list[str]:
    return [_normal(str(v)) for v in (value if isinstance(value, list | tuple) else [value])]


def _normal(item: str) -> str:
    text = normal_text(item).replace("−", "-")
    return str(int(text)) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _statements(response: str, subject: str) -> Iterator[str]:
    """Yield the text after each "<subject> <verb>" in ``response``, up to the end of the sentence."""
    pattern = re.compile(rf"\b{re.escape(subject.casefold())}\s+{_VERB}\s+")
    for sentence in _SENTENCE.split(response.casefold()):
        for match in pattern.finditer(sentence):
            # "The sum of the red digit and the blue digit is 12" says nothing about the value of either digit.
            before = sentence[: match.start()].removesuffix("the ")
            joined = _CONJUNCTION.search(before)
            compound = joined is not None and _HAS_VERB.search(before) is None
            if not compound and _NOT_ABOUT_IT.search(before) is None:
                yield sentence[match.end() :]


def _says(text: str, expected: list[str]) -> bool:
    """Return whether ``text`` starts with the expected values. A list of numbers must not contain any other number."""
    if all(_NUMBER.fullmatch(value) for value in expected):
        match = _LIST.match(text)
        items = [_normal(item) for item in re.findall(_ITEM, match[0]) if item != "and"] if match else []
        count = next((i for i, item in enumerate(items) if not _NUMBER.fullmatch(item)), len(items))
        return items[:count] == expected
    values = rf"{_SEPARATOR}(?:an?\s+|the\s+)?".join(re.escape(value) for value in expected)
    return re.match(rf"(?:an?\s+|the\s+)?{values}\b", text) is not None
