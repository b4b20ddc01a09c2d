"""Turns a user's folder of data files into a dataset folder, and limits how many rows may be unusable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vicur.config.data import ImportConfig
from vicur.data.dataset import SKIPPED, DatasetWriter
from vicur.data.formats import SourceFolder
from vicur.data.reading import Reading
from vicur.data.schema import Manifest, SkippedRow
from vicur.data.splitting import assigned, require_splits
from vicur.errors import VicurError
from vicur.stage.runner import Context
from vicur.storage.folders import new_file
from vicur.wording import listed, percent

_SHOWN = 5  # skipped rows in an error message


def import_folder(
    config: ImportConfig, source: SourceFolder, output: Path, context: Context
) -> tuple[Manifest, list[SkippedRow]]:
    """Write the usable rows of ``source`` as a dataset, and return its manifest and the skipped rows.

    Raises:
        VicurError: if no row is usable, more rows than ``max_skipped_share`` allows are not, or a required split is missing.
    """
    reading = Reading.of(source, config, context.seed)
    units = reading.units()
    where = f"{source.path / listed([unit.file for unit in units][:1])}"
    rows: list[tuple[str, int]] = []
    named: list[str | None] = []
    groups: list[str] = []
    skipped: list[SkippedRow] = []
    first_use: dict[str, int] = {}
    total = sum(unit.rows for unit in units)
    for unit in units:
        for row in reading.rows(unit):
            context.events.progress(len(rows) + len(skipped), 2 * total, f"{len(skipped)} skipped")
            if isinstance(row, SkippedRow):
                skipped.append(row)
            elif row is not None and row.example.id in first_use:
                reason = f"{row.example.id!r} is already the id of row {first_use[row.example.id]}"
                skipped.append(
                    SkippedRow(
                        file=row.file, row=row.row, field="id", reason=reason, remedy="Give each row a unique id."
                    )
                )
            elif row is not None:
                first_use[row.example.id] = row.row
                rows.append((row.file, row.row))
                named.append(row.split)
                groups.append(row.example.group)
    splits, depends_on_seed = assigned(named, groups, config, context.seed)
    for (file, number), split in zip(rows, splits, strict=True):
        if split is None:
            skipped.append(
                SkippedRow(
                    file=file, row=number, field="split", reason="is missing", remedy="Add the field to the row."
                )
            )
    skipped.sort(key=lambda each: ([unit.file for unit in units].index(each.file), each.row))
    _require_enough(skipped, sum(split is not None for split in splits), config, where, context)
    require_splits(Counter(split for split in splits if split is not None), config.required_splits, where)
    of_row = dict(zip(rows, splits, strict=True))
    writer = DatasetWriter(output)
    done = 0
    for unit in units:
        for row in reading.rows(unit):
            if row is None or isinstance(row, SkippedRow) or of_row.get((row.file, row.row)) is None:
                continue
            writer.add(row.example.model_copy(update={"split": of_row[row.file, row.row]}))
            done += 1
            context.events.progress(total + done, 2 * total, f"{len(skipped)} skipped")
    if skipped:
        _write_list(output / SKIPPED, skipped)
    return writer.finish(reading.settings, context.seed if depends_on_seed else None, len(skipped)), skipped


def _require_enough(
    skipped: list[SkippedRow], written: int, config: ImportConfig, where: str, context: Context
) -> None:
    total = written + len(skipped)
    if total == 0:
        raise VicurError(
            "has no rows.", where=where, remedy="Write one JSON object per line, or the rows of a parquet table."
        )
    if written and len(skipped) <= config.max_skipped_share * total:
        return
    # The output folder is removed when the stage fails; the work folder stays.
    complete_list = context.work / SKIPPED
    _write_list(complete_list, skipped)
    shown = "\n".join(f"  {row}" for row in skipped[:_SHOWN])
    raise VicurError(
        f"{len(skipped)} of {total} rows cannot be used; data.max_skipped_share={config.max_skipped_share:g} allows "
        f"{percent(config.max_skipped_share)}:\n{shown}\n",
        where=where,
        remedy=f"Correct the rows (all are listed in {complete_list}), or raise data.max_skipped_share.",
    )


def _write_list(path: Path, skipped: Iterable[SkippedRow]) -> None:
    with new_file(path) as file:
        file.write_text("".join(f"{row.model_dump_json()}\n" for row in skipped), encoding="utf-8", newline="\n")
