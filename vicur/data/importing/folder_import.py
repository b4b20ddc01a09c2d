"""Turns a user's folder of rows into a dataset folder, and limits how many rows may be unusable."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vicur.config.data import ImportConfig
from vicur.data.dataset import SKIPPED, DatasetWriter
from vicur.data.folder import SkippedRow, count_rows, examples_file, read_folder
from vicur.data.schema import Manifest
from vicur.errors import VicurError
from vicur.stage.runner import Context
from vicur.storage.folders import new_file
from vicur.wording import percent

_SHOWN = 5  # skipped rows in an error message


def import_folder(
    config: ImportConfig, source: Path, output: Path, context: Context
) -> tuple[Manifest, list[SkippedRow]]:
    """Write the usable rows of ``source`` as a dataset, and return its manifest and the skipped rows.

    Raises:
        VicurError: if no row is usable, or more rows than ``max_skipped_share`` allows are not.
    """
    writer = DatasetWriter(output)
    skipped: list[SkippedRow] = []
    written = 0
    total = count_rows(source)
    for row in read_folder(source, config):
        if isinstance(row, SkippedRow):
            skipped.append(row)
        else:
            writer.add(row)
            written += 1
        context.events.progress(written + len(skipped), total, f"{len(skipped)} skipped")
    _require_enough(skipped, written, config, source, context)
    if skipped:
        _write_list(output / SKIPPED, skipped)
    # The manifest leaves out the source's location, so that equal data have equal bytes.
    settings = {"type": "folder", "max_skipped_share": config.max_skipped_share, "max_pixels": config.max_pixels}
    return writer.finish(settings, None, len(skipped)), skipped


def _require_enough(
    skipped: list[SkippedRow], written: int, config: ImportConfig, source: Path, context: Context
) -> None:
    total = written + len(skipped)
    where = str(examples_file(source))
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
