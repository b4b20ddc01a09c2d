"""``vicur data export``: reads a prepared dataset shard by shard and writes it in another layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vicur.data.dataset import iter_examples, read_manifest
from vicur.data.exporting.base import EXPORTERS
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import new_folder
from vicur.wording import listed


@dataclass(frozen=True)
class Export:
    """What was exported: the number of examples by split, and of those that have a cue."""

    examples: dict[str, int]
    cues: int


def export(
    dataset: Path,
    to: str,
    output: Path,
    events: Events,
    *,
    splits: Sequence[str] = (),
    cues: Mapping[str, str] | None = None,
) -> Export:
    """Write the examples of a prepared dataset in the layout ``to``. The same dataset gives the same bytes.

    Args:
        output: a new or empty folder.
        splits: splits to export; empty exports all.
        cues: cues by example id, which replace those in the dataset.

    Raises:
        VicurError: if a name is unknown, the output has files, the dataset is damaged or no cue belongs to it.
    """
    if to not in EXPORTERS:
        raise VicurError(f"{to!r} is not a layout.", where="--to", remedy=f"Write {listed(EXPORTERS, 10, ' or ')}.")
    counts = read_manifest(dataset).examples
    chosen = [split for split in counts if not splits or split in splits]
    if unknown := [split for split in splits if split not in counts]:
        raise VicurError(
            f"has no split {unknown[0]!r}; it has {', '.join(counts)}.", where=str(dataset), remedy="Name one of these."
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise VicurError(
            "the output folder is not empty; nothing was written.", where=str(output), remedy="Name a new folder."
        )
    total, done, with_cue = sum(counts[split] for split in chosen), 0, 0
    written = dict.fromkeys(chosen, 0)
    with new_folder(output) as partial:
        exporter = EXPORTERS[to](partial)
        for split in chosen:
            for example in iter_examples(dataset, split):
                if cues is not None:
                    example = example.model_copy(update={"cue": cues.get(example.id)})
                exporter.add(example)
                with_cue += example.cue is not None
                written[split] += 1
                done += 1
                events.progress(done, total, split)
        exporter.close()
        if cues and not with_cue:
            raise VicurError(
                "no cue belongs to an example of these splits.",
                where=str(dataset),
                remedy="Name the output folder of 'vicur cues extract' for this dataset.",
            )
    return Export(written, with_cue)
