"""Merges the portions of a source into a dataset, with the bytes that an import in one process gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vicur.config.data import ImportConfig, SourceConfig
from vicur.data.formats import SourceFolder
from vicur.data.importing import Skipped
from vicur.data.importing.folder_import import processes_for
from vicur.data.importing.merge import merge_parts
from vicur.data.importing.parts import COUNTS, counts_of
from vicur.data.portions.content import STAGE, DataRecord, settings_digest
from vicur.data.portions.read import part_name
from vicur.data.reading import Reading
from vicur.data.schema import Manifest
from vicur.data.sources import source_of
from vicur.errors import VicurError
from vicur.stage.portions import in_order, read_record
from vicur.stage.runner import Context


def merge_portions(
    config: SourceConfig, portions: Sequence[Path], output: Path, context: Context
) -> tuple[Manifest, Skipped]:
    """Write the dataset of all portions of a source to the empty folder ``output``. The portions are not changed.

    Raises:
        VicurError: if the portions are not those of this source, or as :func:`~vicur.data.importing.import_folder`.
    """
    first = read_record(portions[0], DataRecord, STAGE)
    format_name = first.format
    if not format_name or not isinstance(config, ImportConfig):
        in_order(portions, DataRecord, STAGE, "")
        source = source_of(config)
        whole: tuple[Manifest, Skipped] = source.read(config, source.inputs(config), output, context)
        return whole
    if config.answer_index == "auto":
        config = config.model_copy(update={"answer_index": first.answer_index})
    ordered = in_order(portions, DataRecord, STAGE, settings_digest(config, format_name, context.seed))
    parts = [_part(folder, number) for folder, record in ordered for number in range(record.first, record.end)]
    where = ordered[0][1].where
    # The portions have the rows, so the source itself is not opened.
    reading = Reading(SourceFolder(Path(where)), config, format_name, context.seed)
    return merge_parts(
        reading,
        parts,
        output,
        where=where,
        work=context.work,
        processes=processes_for(config, sum(counts_of(part).examples for part in parts)),
        events=context.events,
        keep_parts=True,
    )


def _part(folder: Path, number: int) -> Path:
    part = folder / part_name(number)
    if not (part / COUNTS).is_file():
        raise VicurError(
            f"has no part of unit {number}.", where=str(folder), remedy="Read the portion again: this copy is damaged."
        )
    return part
