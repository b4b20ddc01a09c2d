"""The first stage: makes the dataset that all later ones read.

    vicur data prepare          # into data/, the bytes that data.dvc pins

Digit scenes are drawn; a user's own folder is read and checked. Either way the result is one kind of folder
(:mod:`vicur.data.dataset`), and the same source gives the same bytes (:mod:`vicur.data.shards` says what they depend on).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig
from vicur.data.dataset import SKIPPED, DatasetWriter
from vicur.data.folder import SkippedRow, count_rows, examples_file, read_folder
from vicur.data.pin import dvc_hash
from vicur.data.schema import Manifest
from vicur.errors import VicurError
from vicur.stage import Context, Stage, Summary
from vicur.storage import new_file

_SHOWN = 5  # skipped rows in an error message


class PrepareSummary(Summary):
    """What the dataset holds."""

    dataset_hash: str
    """DVC's hash of the folder, as in ``data.dvc``."""
    examples: dict[str, int]
    """Number of examples by split."""
    skipped: int
    """Rows of the source that could not be used."""
    skipped_reasons: dict[str, int]
    """How many of them for a fault of which field."""


def source_inputs(config: DataConfig) -> dict[str, Path]:
    """The inputs of the stage: files outside of the configuration that the dataset is made of.

    Raises:
        VicurError: where the configured folder holds no dataset source.
    """
    if isinstance(config, DigitScenesConfig):
        return {}
    examples_file(config.path)
    return {"source": config.path}


def prepare(config: DataConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> PrepareSummary:
    """Writes the dataset.

    Args:
        config: the source.
        inputs: what :func:`source_inputs` names.
        output: empty folder to fill.
        context: root seed and progress.

    Raises:
        VicurError: where the source is unusable, or too much of it.
    """
    skipped: list[SkippedRow] = []
    if isinstance(config, DigitScenesConfig):
        manifest = _draw(config, output, context)
    else:
        manifest, skipped = _import(config, inputs["source"], output, context)
    examples = manifest.examples
    return PrepareSummary(
        key_figure=_key_figure(examples, len(skipped)),
        metrics={"skipped": float(len(skipped)), **{f"examples/{split}": float(n) for split, n in examples.items()}},
        dataset_hash=dvc_hash(output).md5,
        examples=examples,
        skipped=len(skipped),
        skipped_reasons=dict(Counter(row.field.partition("[")[0] or "row" for row in skipped)),
    )


def _draw(config: DigitScenesConfig, output: Path, context: Context) -> Manifest:
    from vicur.data.digit_scenes import generate

    writer = DatasetWriter(output)
    total = sum(pool.scenes * pool.questions for pool in config.pools.values())
    for number, example in enumerate(generate(config, context.seed), start=1):
        writer.add(example)
        context.events.progress(number, total, example.split)
    return writer.finish(config.model_dump(mode="json"), context.seed, skipped=0)


def _import(config: FolderConfig, source: Path, output: Path, context: Context) -> tuple[Manifest, list[SkippedRow]]:
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
    _refuse_too_many(skipped, written, config, source, context)
    if skipped:
        _write_list(output / SKIPPED, skipped)
    # The path is this machine's own and says nothing about the data.
    return writer.finish(config.model_dump(mode="json", exclude={"path"}), None, len(skipped)), skipped


def _refuse_too_many(
    skipped: list[SkippedRow], written: int, config: FolderConfig, source: Path, context: Context
) -> None:
    total = written + len(skipped)
    where = str(examples_file(source))
    if total == 0:
        raise VicurError(
            "holds no rows.", where=where, remedy="Write one JSON object a line, or rows of a parquet table."
        )
    if written and len(skipped) <= config.max_skipped_share * total:
        return
    full = context.work / SKIPPED
    _write_list(full, skipped)
    shown = "\n".join(f"  {row}" for row in skipped[:_SHOWN])
    raise VicurError(
        f"{len(skipped)} of {total} rows cannot be used (max_skipped_share allows {config.max_skipped_share:.1%}):\n{shown}\n",
        where=where,
        remedy=f"Mend the rows (all are listed in {full}), or raise data.max_skipped_share.",
    )


def _write_list(path: Path, skipped: Iterable[SkippedRow]) -> None:
    with new_file(path) as file:
        file.write_text("".join(f"{row.model_dump_json()}\n" for row in skipped), encoding="utf-8", newline="\n")


def _key_figure(examples: Mapping[str, int], skipped: int) -> str:
    counts = ", ".join(f"{split} {count:,}" for split, count in examples.items())
    tail = f"; {skipped:,} rows skipped" if skipped else ""
    return f"{sum(examples.values()):,} examples ({counts}){tail}"


PREPARE = Stage("prepare", prepare, PrepareSummary)
