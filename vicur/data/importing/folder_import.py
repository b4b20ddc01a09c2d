"""Turns a source in any format into a dataset: divides it into units, reads each into a part, and merges the parts.

    units = reading.units()                                     # which rows
    part_tasks(...), read_part(task)                            # in any process, in any order: a folder each
    merge_parts(reading, parts, output)                         # once, over all parts

The result does not depend on how many processes there were, or on how often they were killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vicur.config.data import ImportConfig
from vicur.data.formats import SourceFolder, Unit
from vicur.data.importing.merge import Progress, merge_parts
from vicur.data.importing.parts import part_tasks, read_part
from vicur.data.importing.room import require_room
from vicur.data.importing.skipped import Skipped
from vicur.data.reading import Reading
from vicur.data.schema import Manifest
from vicur.processes.workers import default_processes, run_tasks
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.wording import listed

# A process takes a second to start. Fewer rows are read sooner by those that are there.
_ROWS_PER_PROCESS = 1000


def import_folder(
    config: ImportConfig, source: SourceFolder, output: Path, context: Context
) -> tuple[Manifest, Skipped]:
    """Write the usable rows of ``source`` as a dataset, and return its manifest and the rows that were skipped.

    Raises:
        VicurError: if no row is usable, more rows than ``max_skipped_share`` allows are not, or a required split is missing.
    """
    reading = Reading.of(source, config, context.seed)
    units = reading.units()
    reading = reading.with_answer_index(units)
    processes = processes_for(config, sum(unit.rows for unit in units))
    parts = read_parts(reading, units, context.work / "parts", processes, context.events)
    return merge_parts(
        reading,
        parts,
        output,
        where=f"{source.path / listed([unit.file for unit in units][:1])}",
        work=context.work,
        processes=processes,
        events=context.events,
    )


def processes_for(config: ImportConfig, rows: int) -> int:
    """Return the number of processes for this many rows."""
    return min(config.processes or default_processes(), max(1, rows // _ROWS_PER_PROCESS))


def read_parts(reading: Reading, units: Sequence[Unit], folder: Path, processes: int, events: Events) -> list[Path]:
    """Read units of a source into parts below ``folder``, several at a time, and return the parts in the order of the units.

    Raises:
        VicurError: if a file cannot be read, or the disk has too little room for the rest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = part_tasks(reading, units, folder)
    total = sum(unit.rows for unit in units)
    progress = Progress(total, events, "rows read")
    rows = size = skipped = 0
    for number, counts in run_tasks(read_part, tasks, processes, progress.report):
        rows += units[number].rows
        size += counts["size"]
        skipped += counts["skipped"]
        progress.finish(number, units[number].rows, f"rows read, {skipped:,} skipped")
        require_room(folder, round(size / max(1, rows) * (total - rows)), "the rest of the rows")
    return [Path(task["part"]) for task in tasks]
