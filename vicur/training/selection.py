"""Select the examples that a training can use, in one pass over the dataset.

The pass builds the prompts of each example once, because their lengths decide, and keeps the numbers of the usable rows (8 bytes each)
and the reasons for the others. The processes of a training share the row groups, and what they find is kept in the work folder: a resumed
training does not repeat the pass.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicur.config.training import TrainConfig
from vicur.data.schema import Example
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.storage.folders import new_file
from vicur.training.examples import TrainingExample, TrainingExamples, training_example
from vicur.training.world import World
from vicur.wording import listed

log = logging.getLogger(__name__)

FILE = "usable-examples.npz"
Cues = Mapping[str, str]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Selection:
    """The usable rows of a dataset, and why the others are not."""

    usable: NDArray[np.int64]  # numbers of the rows, ascending
    skipped: dict[str, str]  # reason by example id, in the order of the rows
    without_images: list[str] = field(default_factory=list)  # ids of usable examples

    @property
    def count(self) -> int:
        """Number of rows that were examined."""
        return len(self.usable) + len(self.skipped)


def training_examples(
    pool: Sequence[Example], cues: Cues, chat: Chat, config: TrainConfig
) -> tuple[TrainingExamples, dict[str, str]]:
    """Return the usable examples with their prompts, and the reason why each of the others was skipped, by example id.

    Raises:
        VicurError: if more than ``max_unhinted_share`` are skipped, or all of them.
    """
    selection = _merged([_examined(enumerate(pool), cues, chat, config)])
    require_usable(selection, config)
    return TrainingExamples(pool, selection.usable, cues, chat, config), selection.skipped


def select(
    pool: StoredSplit,
    cues: Cues,
    chat: Chat,
    config: TrainConfig,
    *,
    world: World,
    file: Path,
    identity: Mapping[str, Any],
    on_progress: OnProgress = lambda _done, _total: None,
) -> Selection:
    """Examine all rows of a dataset, together with the other processes. All of them call this, and return the same.

    Args:
        file: where rank 0 keeps the result, in a folder that survives a kill.
        identity: everything that the result depends on. A file of another identity is replaced.

    Raises:
        VicurError: if more than ``max_unhinted_share`` of the rows cannot be used, or none can.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    selection = world.broadcast(_read(file, key) if world.is_main else None)
    if selection is None:
        own = range(world.rank, len(pool.groups), world.size)
        rows = _counted(_rows(pool, own), pool.rows_of(own), on_progress)
        selection = _merged(world.gather(_examined(rows, cues, chat, config)))
        if world.is_main:
            _write(selection, file, key)
    require_usable(selection, config)
    return selection


def require_usable(selection: Selection, config: TrainConfig) -> None:
    """Raise a ``VicurError`` if more than ``max_unhinted_share`` of the rows cannot be used, or none can."""
    skipped, count = selection.skipped, selection.count
    if len(selection.usable) and len(skipped) <= config.max_unhinted_share * count:
        return
    reasons = listed((f"{key} {reason}" for key, reason in skipped.items()), shown=3, separator="; ")
    raise VicurError(
        f"{len(skipped)} of {count} distillation examples cannot be used ({reasons or 'the split distill is empty'}).",
        where=f"training, method {config.method}",
        remedy="Add the missing data, choose another method, privilege or cue provider, or raise training.max_unhinted_share, "
        "training.max_prompt_tokens or training.rollout.max_new_tokens. Images are scaled down by data.pixels.max.",
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """What one process has found."""

    usable: NDArray[np.int64]
    skipped: list[tuple[int, str, str]]  # row, example id, reason
    without_images: list[tuple[int, str]]


def _examined(rows: Iterable[tuple[int, Example]], cues: Cues, chat: Chat, config: TrainConfig) -> _Part:
    usable: list[NDArray[np.int64]] = []
    recent: list[int] = []
    part = _Part(np.empty(0, np.int64), [], [])
    for row, example in rows:
        result = training_example(example, cues.get(example.id), chat, config)
        if not isinstance(result, TrainingExample):
            part.skipped.append((row, example.id, result))
            continue
        if not result.student.pixels:
            part.without_images.append((row, example.id))
        recent.append(row)
        if len(recent) == 1 << 16:  # numbers in a list take five times the memory of those in an array
            usable.append(np.array(recent, np.int64))
            recent = []
    return _Part(np.concatenate([*usable, np.array(recent, np.int64)]), part.skipped, part.without_images)


def _merged(parts: Sequence[_Part]) -> Selection:
    skipped = sorted(row for part in parts for row in part.skipped)
    without_images = sorted(row for part in parts for row in part.without_images)
    return Selection(
        np.sort(np.concatenate([part.usable for part in parts])),
        {key: reason for _, key, reason in skipped},
        [key for _, key in without_images],
    )


def _rows(pool: StoredSplit, groups: Sequence[int]) -> Iterable[tuple[int, Example]]:
    numbers = (pool.groups[group].start + place for group in groups for place in range(pool.groups[group].rows))
    return zip(numbers, pool.of_groups(groups), strict=True)


def _counted(rows: Iterable[tuple[int, Example]], total: int, on_progress: OnProgress) -> Iterable[tuple[int, Example]]:
    for done, row in enumerate(rows, start=1):
        yield row
        # A small dataset is examined in a second or two.
        if done % 10_000 == 0:
            on_progress(done, total)


def _read(file: Path, key: str) -> Selection | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            texts = json.loads(str(stored["texts"]))
            return Selection(stored["usable"].astype(np.int64), texts["skipped"], texts["without_images"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s cannot be read (%s); the examples are examined again.", file, error)
        return None


def _write(selection: Selection, file: Path, key: str) -> None:
    texts = json.dumps({"skipped": selection.skipped, "without_images": selection.without_images})
    with new_file(file) as partial, partial.open("wb") as stream:
        np.savez(stream, key=np.array(key), usable=selection.usable, texts=np.array(texts))
