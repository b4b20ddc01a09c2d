"""Whether a model can read a dataset: its vocabulary spells the texts.

Checked before anything expensive: before cues are extracted, and at the start of a training or an evaluation. Checkpoints with byte-level
tokens spell everything. The vocabulary of the tiny base that ships with this package has the words of the digit scenes only: of any other
question it sees unknown tokens, and it cannot write the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from vicur.data.texts import read_texts
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.wording import listed, percent

MAX_UNKNOWN_SHARE = 0.05
"""Largest share of the characters of questions, and of answers, for which the vocabulary may have no token."""

# Texts that the shares are computed from. Their lengths are checked in all.
_SAMPLE = 2000
_READ = 10_000  # characters of a text that are looked at
_SHOWN = 3
_TEXT = 60  # characters of an example in a message


class _Spelling(NamedTuple):
    unknown: int  # characters without a token
    total: int  # characters, without blanks
    texts: list[str]  # the first ones with such characters


def check_readable(chat: Chat, dataset: Path, splits: Iterable[str], model: Path) -> None:
    """Check that a model can spell the questions and answers of a dataset.

    Args:
        splits: the splits to check.
        model: the checkpoint's folder, for messages.

    Raises:
        VicurError: if more than :data:`MAX_UNKNOWN_SHARE` of the characters cannot be spelled.
    """
    for split in splits:
        sample = list(islice(read_texts(dataset, split), _SAMPLE))
        texts = {
            "questions": [" ".join((text.question, *text.choices)) for text in sample],
            "answers": [text.answer for text in sample],
        }
        check_spelling(chat, texts, model, f"dataset split {split}")


def context_length(model: Path) -> int:
    """Return the largest number of tokens in a sequence of a checkpoint, by its configuration."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    return int(config.get_text_config().max_position_embeddings)


def check_spelling(chat: Chat, texts: Mapping[str, Iterable[str]], model: Path, where: str) -> None:
    """Check that a model can spell some texts, of which the first 2,000 of each kind are looked at.

    Args:
        texts: texts by what they are, for messages: questions, answers, cues.
        model: the checkpoint's folder, for messages.
        where: where the texts are from, for messages.

    Raises:
        VicurError: if more than :data:`MAX_UNKNOWN_SHARE` of the characters of a kind cannot be spelled.
    """
    for what, of_kind in texts.items():
        spelling = _spelling(chat, islice(of_kind, _SAMPLE))
        share = spelling.unknown / max(1, spelling.total)
        if share > MAX_UNKNOWN_SHARE:
            raise VicurError(
                f"the model's vocabulary cannot spell {percent(share)} of the characters of the {what}; {percent(MAX_UNKNOWN_SHARE)} are "
                f"allowed. It has no token for {listed(spelling.texts, _SHOWN)}.",
                where=f"{model}, {where}",
                remedy="Choose another base (base.path), such as a Qwen3-VL checkpoint, or train a tiny one for this dataset: "
                "vicur base train FOLDER --data DATASET.",
            )


def _spelling(chat: Chat, texts: Iterable[str]) -> _Spelling:
    unknown = total = 0
    examples: dict[str, None] = {}
    for whole in texts:
        text = whole[:_READ]
        missing = set(unspelled(chat, text))
        total += sum(not character.isspace() for character in text)
        unknown += len(missing)
        if missing and len(examples) < _SHOWN:
            examples |= dict.fromkeys(islice(_words(text, missing), _SHOWN))
    return _Spelling(unknown, total, list(examples))


def unspelled(chat: Chat, text: str) -> Iterator[int]:
    """Yield the places of the characters, other than blanks, that an unknown token or no token at all stands for.

    Their number is exact, but behind a character that the tokenizer leaves out, their places are shifted.
    """
    encoded = chat.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    spelled = bytearray(len(text))
    unknown = chat.tokenizer.unk_token_id
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if token != unknown:
            spelled[start:end] = b"\1" * (end - start)
    # A tokenizer without an unknown token leaves out what it cannot spell.
    return (place for place, character in enumerate(text) if not spelled[place] and not character.isspace())


def _words(text: str, missing: set[int]) -> Iterator[str]:
    """Yield the words with a character that cannot be spelled."""
    for word in re.finditer(r"\S+", text):
        if any(place in missing for place in range(*word.span())):
            yield repr(word[0][:_TEXT])
