"""Whether a model can read a dataset: its vocabulary spells the texts, and its context has room for the prompts.

Checked at the start of a training or an evaluation, before anything expensive. Checkpoints with byte-level tokens spell everything. The
vocabulary of the tiny base that ships with this package has the words of the digit scenes only: of any other question it sees unknown
tokens, and it cannot write the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from vicur.data.texts import Texts, read_texts
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


def check_readable(
    chat: Chat, dataset: Path, splits: Iterable[str], model: Path, *, max_tokens: int | None = None, setting: str = ""
) -> None:
    """Check that a model can spell the questions and answers of a dataset, and that its prompts are not too long.

    Args:
        splits: the splits to check.
        model: the checkpoint's folder, for messages.
        max_tokens: longest text of a prompt, without images; ``None`` does not check it.
        setting: the setting to raise for longer prompts, for messages.

    Raises:
        VicurError: if more than :data:`MAX_UNKNOWN_SHARE` of the characters cannot be spelled, or a question is longer than ``max_tokens``.
    """
    for split in splits:
        if max_tokens is not None:
            _check_lengths(chat, dataset, split, max_tokens, setting)
        _check_spelling(chat, split, list(islice(read_texts(dataset, split), _SAMPLE)), model)


def context_length(model: Path) -> int:
    """Return the largest number of tokens in a sequence of a checkpoint, by its configuration."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    return int(config.get_text_config().max_position_embeddings)


def _check_lengths(chat: Chat, dataset: Path, split: str, max_tokens: int, setting: str) -> None:
    lengths = ((text.id, _length(chat, text, max_tokens)) for text in read_texts(dataset, split))
    too_long = [f"{identifier} has {tokens:,}" for identifier, tokens in lengths if tokens > max_tokens]
    if too_long:
        raise VicurError(
            f"{len(too_long):,} of the questions are longer than {max_tokens:,} tokens ({listed(too_long, _SHOWN)}).",
            where=f"{dataset}, split {split}",
            remedy=f"Prepare the dataset with a lower data.max_prompt_tokens, which skips such rows, or raise {setting}.",
        )


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
    for whole in texts:
        text = whole[:_READ]
        missing = set(unspelled(chat, text))
        total += sum(not character.isspace() for character in text)
        unknown += len(missing)
        if missing and len(examples) < _SHOWN:
            examples[_excerpt(text, missing)] = None
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


def _excerpt(text: str, missing: set[int]) -> str:
    """Return the first word with a character that cannot be spelled."""
    first = min(missing)
    start = first - len(text[:first].split(" ")[-1][-_TEXT:])
    return repr(text[start:].split(maxsplit=1)[0][:_TEXT])
