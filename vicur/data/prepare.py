"""The first stage: makes the dataset that all later ones read.

    vicur data prepare          # into data/, the bytes that data.dvc pins

Digit scenes are drawn; a user's own folder is read and checked, whether it lies on this machine or is fetched first; a dataset that is
prepared already is fetched, checked and taken as it is. Either way the result is one kind of folder (:mod:`vicur.data.dataset`), and the
same source gives the same bytes (:mod:`vicur.data.shards` says what they depend on).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig, ImportConfig, PinnedConfig, RemoteConfig
from vicur.config.section import Section
from vicur.data.dataset import MANIFEST, SKIPPED, DatasetWriter, read_manifest, verify
from vicur.data.fetch import fetch
from vicur.data.folder import EXAMPLES, SkippedRow, count_rows, examples_file, read_folder
from vicur.data.pin import dvc_hash
from vicur.data.pinned import pinned_files
from vicur.data.remote import remote_files, written_listing
from vicur.data.schema import Manifest
from vicur.errors import VicurError
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import files_below, new_file
from vicur.storage.object_store import objects_at

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
    """How many of them for a fault of which field; empty for a dataset that was prepared elsewhere."""


def sources(section: Section) -> dict[str, Path]:
    """Return the files and folders outside the pipeline that a section names.

    Raises:
        VicurError: if one of them does not exist.
    """
    if isinstance(section, DigitScenesConfig | FolderConfig | PinnedConfig | RemoteConfig):
        return source_inputs(section)
    return section.inputs()


def source_inputs(config: DataConfig) -> dict[str, Path]:
    """The inputs of the stage: files outside of the configuration that the dataset is made of.

    Where the configuration names the data by their hash, that is all there is to know of them. What lies at an address on S3 is listed
    in a file, but not fetched.

    Raises:
        VicurError: where the configured folder or address holds nothing to make a dataset of, or S3 does not answer or refuses.
    """
    match config:
        case FolderConfig():
            examples_file(config.path)
            return {"source": config.path}
        case RemoteConfig(hash=""):
            return {"source": written_listing(config.uri)}
        case _:
            return {}


def prepare(config: DataConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> PrepareSummary:
    """Writes the dataset.

    Args:
        config: the source.
        inputs: what :func:`source_inputs` names.
        output: empty folder to fill.
        context: root seed, progress, and a work folder in which an interrupted download goes on.

    Raises:
        VicurError: where the source is unusable, or too much of it, or cannot be fetched.
    """
    skipped: list[SkippedRow] = []
    match config:
        case DigitScenesConfig():
            manifest = _draw(config, output, context)
        case FolderConfig():
            manifest, skipped = _import(config, inputs["source"], output, context)
        case PinnedConfig() | RemoteConfig():
            fetched = _fetch(config, inputs, context)
            if (fetched / MANIFEST).is_file():
                manifest = _take(fetched, output)
            else:
                manifest, skipped = _import(config, fetched, output, context)
    examples = manifest.examples
    return PrepareSummary(
        key_figure=_key_figure(examples, manifest.skipped),
        metrics={
            "skipped": float(manifest.skipped),
            **{f"examples/{split}": float(n) for split, n in examples.items()},
        },
        dataset_hash=dvc_hash(output).md5,
        examples=examples,
        skipped=manifest.skipped,
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


def _fetch(config: PinnedConfig | RemoteConfig, inputs: Mapping[str, Path], context: Context) -> Path:
    """A folder with what lies at the configured place, as a source or as a dataset."""
    if isinstance(config, PinnedConfig):
        objects = objects_at(config.remote)
        wanted = pinned_files(config.hash, objects)
    else:
        objects = objects_at(config.uri)
        wanted = remote_files(objects, inputs.get("source"))
    if not {MANIFEST, *EXAMPLES} & {each.path for each in wanted}:
        raise VicurError(
            f"holds neither a prepared dataset ({MANIFEST}) nor a source ({' or '.join(EXAMPLES)}).",
            where=objects.address if isinstance(config, RemoteConfig) else f"{config.hash} in {objects.address}",
            remedy="Name the folder that holds one of these files at its top.",
        )
    folder = fetch(wanted, objects, context.work / "fetched", context.events)
    if isinstance(config, RemoteConfig) and config.hash:
        _require_hash(folder, config.hash, objects.address)
    return folder


def _require_hash(folder: Path, wanted: str, where: str) -> None:
    found = dvc_hash(folder).md5
    if found != wanted:
        # Another attempt must not find what is not wanted.
        shutil.rmtree(folder)
        raise VicurError(
            f"has hash {found}, and data.hash names {wanted}.",
            where=where,
            remedy="Correct data.hash, or upload the right folder. Every file below the address counts.",
        )


def _take(fetched: Path, output: Path) -> Manifest:
    """Moves a dataset that is prepared already to where it belongs."""
    verify(fetched)
    for file in files_below(fetched):
        place = output / file.relative_to(fetched)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, place)
    return read_manifest(output)


def _import(config: ImportConfig, source: Path, output: Path, context: Context) -> tuple[Manifest, list[SkippedRow]]:
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
    # Where the source lies, or was fetched from, says nothing about the data.
    settings = {"type": "folder", "max_skipped_share": config.max_skipped_share, "max_pixels": config.max_pixels}
    return writer.finish(settings, None, len(skipped)), skipped


def _refuse_too_many(
    skipped: list[SkippedRow], written: int, config: ImportConfig, source: Path, context: Context
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
