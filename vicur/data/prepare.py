"""The first stage: turns any source (:mod:`vicur.data.sources`) into a dataset folder (:mod:`vicur.data.dataset`).

    vicur data prepare          # writes data/, the bytes that data.dvc pins

The same source gives the same bytes; :mod:`vicur.data.shards` says what else they depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vicur.config.data import DataConfig
from vicur.data.pin import dvc_hash
from vicur.data.sources import source_of
from vicur.stage.runner import Context, Stage, Summary


class PrepareSummary(Summary):
    """Counts and hash of a prepared dataset."""

    dataset_hash: str
    """DVC's hash of the folder, as in ``data.dvc``."""
    examples: dict[str, int]
    """Number of examples by split."""
    skipped: int
    """Number of rows of the source that could not be used."""
    skipped_reasons: dict[str, int]
    """Number of skipped rows by the field at fault; empty for a dataset that was prepared elsewhere."""


def prepare(config: DataConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> PrepareSummary:
    """Write the dataset of the section's source to the empty folder ``output``.

    Raises:
        VicurError: if the source cannot be fetched, or too many of its rows cannot be used.
    """
    manifest, skipped = source_of(config).read(config, inputs, output, context)
    examples = manifest.examples
    return PrepareSummary(
        key_figure=_key_figure(examples, manifest.skipped),
        metrics={
            "skipped": float(manifest.skipped),
            **{f"examples/{split}": float(count) for split, count in examples.items()},
        },
        dataset_hash=dvc_hash(output).md5,
        examples=examples,
        skipped=manifest.skipped,
        skipped_reasons=dict(skipped.by_field),
    )


def _key_figure(examples: Mapping[str, int], skipped: int) -> str:
    counts = ", ".join(f"{split} {count:,}" for split, count in examples.items())
    tail = f"; {skipped:,} rows skipped" if skipped else ""
    return f"{sum(examples.values()):,} examples ({counts}){tail}"


PREPARE = Stage("prepare", prepare, PrepareSummary)
