"""Whether the base that will be trained can read a dataset: checked before anything is paid for, if its tokenizer is on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vicur.config.base import model_folder
from vicur.config.reader import ReaderConfig
from vicur.cues.hints import HINT_MARKER, Privilege, hint_for
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.modeling.prompt_lengths import prompt_length

_FILES = ("tokenizer.json", "preprocessor_config.json")


def local_reader(reader: ReaderConfig) -> Path | None:
    """Return the folder of the base, or ``None`` if it is elsewhere: at an address and not staged here, or on a volume."""
    try:
        folder = model_folder(reader.path)
    except (VicurError, ValueError):
        return None
    return folder if all((folder / name).is_file() for name in _FILES) else None


def prompts_too_long(chat: Chat, examples: Iterable[Example], reader: ReaderConfig) -> tuple[dict[str, int], int]:
    """Return the prompts of student or teacher that are too long for a training, in tokens by example id, and the number of examples.

    Cues that are not the examples' own are not known yet and are not counted.
    """
    limit, total = reader.max_prompt_tokens, 0
    lengths: dict[str, int] = {}
    for example in examples:
        total += 1
        length = prompt_length(chat, example, "student", limit)
        if length <= limit and (behind := _longest_hint(example, reader.privileges, with_cues=reader.annotated)):
            length = prompt_length(chat, example, "teacher", limit, behind)
        if length > limit:
            lengths[example.id] = length
    return lengths, total


def _longest_hint(example: Example, privileges: Sequence[Privilege], *, with_cues: bool) -> str:
    hints = [hint_for(each, example, example.cue if with_cues else None) for each in privileges]
    longest = max((hint for hint in hints if hint is not None), key=len, default=None)
    return "" if longest is None else f"\n{HINT_MARKER} {longest}"
