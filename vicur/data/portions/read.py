"""Reads one portion of a source into parts (:mod:`vicur.data.importing.parts`), a folder for each of its units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vicur.config.data import ImportConfig
from vicur.config.portions import DataPortionConfig
from vicur.data.importing.folder_import import processes_for, read_parts
from vicur.data.importing.parts import counts_of
from vicur.data.portions.content import STAGE, Contents, DataRecord, place, settings_digest
from vicur.data.reading import Reading
from vicur.data.sources import source_of
from vicur.errors import VicurError
from vicur.stage.portions import digest
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import link_or_copy


class PortionSummary(Summary):
    """Summary of a portion."""

    examples: int
    """Usable rows. The merge may drop more, such as repeated ids."""
    skipped: int


def read_portion(
    config: DataPortionConfig, inputs: Mapping[str, Path], output: Path, context: Context
) -> PortionSummary:
    """Read the units of a portion, and write the part of each to ``output/<number of the unit>``.

    Raises:
        VicurError: if the source cannot be fetched or read, or has changed since it was divided.
    """
    data = config.data
    source = source_of(data)
    inputs = source.inputs(data)
    states = source.states(data, inputs)
    if not config.format or not isinstance(data, ImportConfig):
        _require_unchanged(config, digest(states), data.type)
        _record(config, "", "", data.type).write(output)
        return PortionSummary(key_figure="nothing to do: the merge reads this source as a whole", examples=0, skipped=0)
    folder = source.folder(data, inputs, context.work, context.events)
    reading = Reading(folder, data, config.format, context.seed)
    units = reading.units()
    where = place(reading, units)
    _require_unchanged(config, Contents(units, states).of(config.first, config.end), where)
    own = units[config.first : config.end]
    processes = processes_for(data, sum(unit.rows for unit in own))
    parts = read_parts(reading, own, context.work / "parts", processes, context.events)
    counts = [counts_of(part) for part in parts]
    for number, part in enumerate(parts, start=config.first):
        link_or_copy(part, output / part_name(number))
    _record(config, settings_digest(data, config.format, context.seed), config.format, where).write(output)
    examples, skipped = (sum(getattr(each, name) for each in counts) for name in ("examples", "skipped"))
    return PortionSummary(
        key_figure=f"{examples:,} usable rows; {skipped:,} skipped", examples=examples, skipped=skipped
    )


def part_name(number: int) -> str:
    """Return the name of the folder with a unit's part."""
    return f"unit-{number:06d}"


def _require_unchanged(config: DataPortionConfig, content: str, where: str) -> None:
    if content != config.content:
        raise VicurError(
            "the source has changed since it was divided into portions.",
            where=where,
            remedy="Start again, so that it is divided as it is now. Do not write to a source while it is read.",
        )


def _record(config: DataPortionConfig, settings: str, format_name: str, where: str) -> DataRecord:
    return DataRecord(
        stage=STAGE,
        first=config.first,
        end=config.end,
        last=config.last,
        settings=settings,
        format=format_name,
        content=config.content,
        where=where,
        answer_index=config.data.answer_index if isinstance(config.data, ImportConfig) else "auto",
    )


READ = Stage("prepare", read_portion, PortionSummary)
