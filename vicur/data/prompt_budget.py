"""A lower bound of the tokens of an example's prompt, without a tokenizer.

Byte-level BPE, as in Qwen's tokenizers, first cuts a text into pieces and never joins tokens across them: a run of letters and a run of
digits are different pieces. The number of such runs is therefore a lower bound for every checkpoint. So is the number of bytes divided by
the length of the longest token, which bounds texts of other characters: millions of control characters are one piece.

Image tokens are not counted: their number depends on ``data.pixels``, which the dataset does not depend on.
"""

from __future__ import annotations

import re
import unicodedata

from vicur.data.schema import Example, Fault

_PIECE = re.compile(r"[^\W\d_]+|\d+")
_LONGEST_TOKEN = 256  # bytes; the longest token of Qwen3's vocabulary is a run of 128 blanks


def least_tokens(text: str) -> int:
    """Return a number of tokens that a text has at least in any checkpoint."""
    # Qwen's tokenizers compose characters first, which may join a letter with its accent.
    composed = unicodedata.normalize("NFC", text)
    pieces = sum(1 for _ in _PIECE.finditer(composed))
    return max(pieces, -(-len(composed.encode()) // _LONGEST_TOKEN))


def over_budget(example: Example, limit: int) -> Fault | None:
    """Return why an example's prompt is certainly longer than ``limit`` tokens: the student's, or the teacher's with any of its hints."""
    question = least_tokens(example.question) + sum(map(least_tokens, example.choices))
    hints = {"question": 0, "answer": least_tokens(example.answer)}
    hints |= {name: least_tokens(text) for name in ("rationale", "cue") if (text := getattr(example, name))}
    for field, tokens in hints.items():
        if question + tokens > limit:
            whose = "the prompt" if field == "question" else f"the teacher's prompt with the {field} as its hint"
            return Fault(
                field=field,
                reason=f"{whose} has at least {question + tokens:,} tokens, above data.max_prompt_tokens = {limit}",
                remedy="Shorten the text, or raise data.max_prompt_tokens.",
            )
    return None
