"""Whether a model can read a dataset: its vocabulary spells the texts, and its context has room for the prompts.

Checked at the start of a training or an evaluation, before anything expensive. Checkpoints with byte-level tokens spell everything. The
vocabulary of the tiny base that ships with this package has the words of the digit scenes only: of any other question it sees unknown
tokens, and it cannot write the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from vicur.data.texts import Texts
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.wording import listed, percent

MAX_UNKNOWN_SHARE = 0.05
"""Largest share of the characters of questions, and of answers, for which the vocabulary may have no token."""

# Texts that the shares are computed from. Their lengths are checked in all.
_SAMPLE = 2000
_SHOWN = 3
_TEXT = 60  # characters of an example in a message


class _Spelling(NamedTuple):
    unknown: int  # characters without a token
    total: int  # characters, without blanks
    texts: list[str]  # the first ones with such characters


def check_readable(chat: Chat, splits: Mapping[str, Iterable[Texts]], max_tokens: int, *, setting: str, model: Path) -> None:
    """Check that a model's vocabulary and context fit the questions and answers of a dataset.

    Args:
        splits: the texts of each split.
        max_tokens: longest text of a prompt. Images are not counted.
        setting: where ``max_tokens`` comes from, for messages.
        model: the checkpoint's folder, for messages.

    Raises:
        VicurError: if more than :data:`MAX_UNKNOWN_SHARE` of the characters cannot be spelled, or a question is longer than ``max_tokens``.
    """
    for split, texts in splits.items():
        sample: list[Texts] = []
        too_long: list[str] = []
        for text in texts:
            if len(sample) < _SAMPLE:
                sample.append(text)
            if (tokens := _length(chat, text, max_tokens)) > max_tokens:
                too_long.append(f"{text.id} has {tokens:,}")
        if too_long:
            raise VicurError(
                f"{len(too_long)} of the prompts are longer than {max_tokens:,} tokens ({listed(too_long, _SHOWN)}).",
                where=f"dataset, split {split}",
                remedy=f"Prepare the dataset with a lower data.max_prompt_tokens, which skips such rows, or raise {setting}.",
            )
        _check_spelling(chat, split, sample, model)


def _length(chat: Chat, text: Texts, limit: int) -> int:
    parts = (text.question, *text.choices)
    # A token has at least one byte, so most texts need not be tokenized.
    if sum(len(part.encode()) for part in parts) <= limit:
        return 0
    return sum(len(chat.encode_text(part)) for part in parts)


def _check_spelling(chat: Chat, split: str, sample: list[Texts], model: Path) -> None:
    groups = {
        "questions": (part for text in sample for part in (text.question, *text.choices)),
        "answers": (text.answer for text in sample),
    }
    for what, texts in groups.items():
        spelling = _spelling(chat, texts)
        share = spelling.unknown / max(1, spelling.total)
        if share > MAX_UNKNOWN_SHARE:
            raise VicurError(
                f"the model's vocabulary cannot spell {percent(share)} of the characters of the {what}; {percent(MAX_UNKNOWN_SHARE)} are "
                f"allowed. It has no token for {listed(spelling.texts, _SHOWN)}.",
                where=f"{model}, dataset split {split}",
                remedy="Choose another base (base.path), such as a Qwen3-VL checkpoint, or train a tiny one for this dataset: "
                "vicur base train FOLDER --data DATASET.",
            )


def _spelling(chat: Chat, texts: Iterable[str]) -> _Spelling:
    unknown = total = 0
    examples: dict[str, None] = {}
    for text in texts:
        missing = set(unspelled(chat, text))
        total += sum(not character.isspace() for character in text)
        unknown += len(missing)
        if missing and len(examples) < _SHOWN:
            examples[_excerpt(text, missing)] = None
    return _Spelling(unknown, total, list(examples))


def unspelled(chat: Chat, text: str) -> Iterator[int]:
    """Yield the places of the characters, other than blanks, that an unknown token or no token at all stands for."""
    encoded = chat.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    spelled = bytearray(len(text))
    unknown = chat.tokenizer.unk_token_id
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if token != unknown:
            spelled[start:end] = b"\1" * (end - start)
    # A tokenizer without an unknown token leaves out what it cannot spell.
    return (place for place, character in enumerate(text) if not spelled[place] and not character.isspace())


def _excerpt(text: str, missing: set[int]) -> str:
    start, end = min(missing), min(missing)
    while end < len(text) and end - start < _TEXT and not text[end].isspace():
        end += 1
    return repr(text[start:end])
