"""A dataset folder: parquet shards by split, ``manifest.json``, and a card from which Hugging Face's ``datasets`` reads the splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from vicur.config.data import SPLITS
from vicur.data.schema import SCHEMA_VERSION, Example, Fault, Manifest, Shard
from vicur.errors import VicurError
from vicur.storage.folders import file_sha256

if TYPE_CHECKING:
    from vicur.data.shards import ShardWriter

MANIFEST = "manifest.json"
CARD = "README.md"
SKIPPED = "skipped.jsonl"

REBUILD = "Build the dataset again (vicur data prepare), or fetch it again."


class DatasetWriter:
    """Writes examples to an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, ShardWriter] = {}
        self._shards: dict[str, list[Shard]] = {split: [] for split in SPLITS}

    def add(self, example: Example) -> None:
        from vicur.data.shards import ShardWriter

        split = example.split
        if split not in self._open:
            self._open[split] = ShardWriter(self.folder / shard_name(split, len(self._shards[split])))
        shard = self._open[split]
        shard.add(example)
        if shard.is_full:
            self._close(split)

    def finish(self, source: dict[str, Any], seed: int | None, skipped: int) -> Manifest:
        """Close the shards, and write the manifest and the card."""
        for split in list(self._open):
            self._close(split)
        shards = [shard for split in SPLITS for shard in self._shards[split]]
        return write_manifest(self.folder, shards, source=source, seed=seed, skipped=skipped)

    def _close(self, split: str) -> None:
        writer = self._open.pop(split)
        writer.close()
        shard = Shard(file=writer.path.name, split=split, rows=writer.rows, sha256=file_sha256(writer.path))
        self._shards[split].append(shard)


def shard_name(split: str, number: int) -> str:
    """Return the file name of a split's shard; the first has number 0."""
    return f"{split}-{number:05d}.parquet"


def write_manifest(
    folder: Path, shards: Sequence[Shard], *, source: dict[str, Any], seed: int | None, skipped: int
) -> Manifest:
    """Complete a folder of shards, in the order of their splits and numbers, by its manifest and its card."""
    counts: Counter[str] = Counter()
    for shard in shards:
        counts[shard.split] += shard.rows
    # Neither manifest nor card contains times or paths: the same examples must have the same hash on every machine.
    manifest = Manifest(source=source, seed=seed, examples=dict(counts), skipped=skipped, shards=list(shards))
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
    (folder / CARD).write_text(_card(manifest), encoding="utf-8", newline="\n")
    return manifest


def _card(manifest: Manifest) -> str:
    # datasets.load_dataset(folder) reads the files of each split from this header. The text is part of the dataset's hash.
    files = "".join(f"  - split: {split}\n    path: {split}-*.parquet\n" for split in manifest.examples)
    counts = "".join(f"| {split} | {count} |\n" for split, count in manifest.examples.items())
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        "Images and questions for ViCuR, written by `vicur data prepare`. `manifest.json` holds the settings and the hashes.\n\n"
        f"| split | examples |\n|---|---|\n{counts}"
    )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a dataset folder.

    Raises:
        VicurError: if the folder is not a dataset, or has another schema version.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise VicurError("is not a dataset: it has no manifest.json.", where=str(folder), remedy=REBUILD) from None
    except (OSError, UnicodeDecodeError) as error:
        raise VicurError(f"cannot be read ({error}).", where=str(path), remedy=REBUILD) from error
    try:
        version = _Versioned.model_validate_json(text).schema_version
        if version != SCHEMA_VERSION:
            raise VicurError(
                f"has schema version {version}, but this release reads version {SCHEMA_VERSION}.",
                where=str(path),
                remedy="Build the dataset again with this release, or use the release that wrote it.",
            )
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        fault = Fault.of(error)
        where = f"{path}:{fault.field}" if fault.field else str(path)
        raise VicurError(f"{fault.reason}.", where=where, remedy=REBUILD) from error


class _Versioned(BaseModel):
    # Other fields are ignored, because those of another version are not known.
    schema_version: int


def read_examples(folder: Path, split: str | None = None) -> list[Example]:
    """Read the examples of one split, or of all. Shards of other splits are not opened.

    Raises:
        VicurError: if the folder is not a dataset or lacks the split, or a shard is damaged.
    """
    manifest = read_manifest(folder)
    if split is not None and split not in manifest.examples:
        raise VicurError(
            f"has no split {split!r}; it has {', '.join(manifest.examples) or 'none'}.",
            where=str(folder),
            remedy="Name one of these splits, or add examples of that split to the source.",
        )
    return [
        example
        for shard in manifest.shards
        if split in (None, shard.split)
        for example in read_listed_shard(folder, shard)
    ]


def iter_examples(folder: Path, split: str) -> Iterator[Example]:
    """Yield the examples of one split in order, holding one row group in memory. Raises VicurError like :func:`read_examples`."""
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        if shard.split == split:
            yield from read_listed_shard(folder, shard)


def read_listed_shard(folder: Path, shard: Shard) -> Iterator[Example]:
    """Yield the examples of a shard, and raise an error if they are not those that the manifest lists."""
    from vicur.data.shards import read_shard

    path = folder / shard.file
    if not path.is_file():
        raise VicurError("is missing, but listed in manifest.json.", where=str(path), remedy=REBUILD)
    rows = 0
    for rows, example in enumerate(read_shard(path), start=1):
        if example.split != shard.split:
            raise VicurError(
                f"belongs to split {example.split}, but the file to split {shard.split}.",
                where=f"{path}:row {rows}:split",
                remedy=REBUILD,
            )
        yield example
    if rows != shard.rows:
        raise VicurError(f"has {rows} rows, but manifest.json lists {shard.rows}.", where=str(path), remedy=REBUILD)
