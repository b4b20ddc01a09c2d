"""A dataset folder: parquet shards by split, ``manifest.json``, and a card that Hugging Face's ``datasets`` finds the splits by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from vicur.config.data import SPLITS
from vicur.data.images import UnusableImageError, check_image
from vicur.data.pin import dvc_hash
from vicur.data.schema import SCHEMA_VERSION, Example, Manifest, Shard
from vicur.errors import VicurError
from vicur.storage.folders import file_sha256

if TYPE_CHECKING:
    from vicur.data.shards import ShardWriter

MANIFEST = "manifest.json"
CARD = "README.md"
SKIPPED = "skipped.jsonl"

# A shard is closed when its images reach this size: large enough for fast reading, small enough to move and to hold.
_SHARD_BYTES = 256 << 20
# An image that came into the dataset was checked against the limit of its day; this one only bounds the memory.
_MAX_PIXELS = 1 << 28
_REBUILD = "Build the dataset again (vicur data prepare), or fetch it again."


class DatasetWriter:
    """Fills a folder with examples, in the order in which they come.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, ShardWriter] = {}
        self._shards: dict[str, list[Shard]] = {split: [] for split in SPLITS}

    def add(self, example: Example) -> None:
        """Writes an example to its split."""
        from vicur.data.shards import ShardWriter

        split = example.split
        if split not in self._open:
            self._open[split] = ShardWriter(self.folder / f"{split}-{len(self._shards[split]):05d}.parquet")
        shard = self._open[split]
        shard.add(example)
        if shard.image_bytes >= _SHARD_BYTES:
            self._close(split)

    def finish(self, source: dict[str, Any], seed: int | None, skipped: int) -> Manifest:
        """Closes the shards and writes the manifest and the card.

        Args:
            source: configuration that the dataset was made with.
            seed: root seed, if it was drawn with one.
            skipped: number of rows that were left out.
        """
        for split in list(self._open):
            self._close(split)
        shards = [shard for split in SPLITS for shard in self._shards[split]]
        counts: Counter[str] = Counter()
        for shard in shards:
            counts[shard.split] += shard.rows
        manifest = Manifest(source=source, seed=seed, examples=dict(counts), skipped=skipped, shards=shards)
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="\n")
        (self.folder / CARD).write_text(_card(manifest), encoding="utf-8", newline="\n")
        return manifest

    def _close(self, split: str) -> None:
        writer = self._open.pop(split)
        writer.close()
        shard = Shard(file=writer.path.name, split=split, rows=writer.rows, sha256=file_sha256(writer.path))
        self._shards[split].append(shard)


def _card(manifest: Manifest) -> str:
    """A dataset card: its header tells ``datasets.load_dataset(folder)`` which files are which split."""
    files = "".join(f"  - split: {split}\n    path: {split}-*.parquet\n" for split in manifest.examples)
    counts = "".join(f"| {split} | {count} |\n" for split, count in manifest.examples.items())
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        "Images and questions for ViCuR, written by `vicur data prepare`. `manifest.json` holds the settings and the hashes.\n\n"
        f"| split | examples |\n|---|---|\n{counts}"
    )


def read_manifest(folder: Path) -> Manifest:
    """Reads what a dataset folder says about itself.

    Raises:
        VicurError: where there is no dataset, or one that this version cannot read.
    """
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise VicurError("is no dataset: it has no manifest.json.", where=str(folder), remedy=_REBUILD) from None
    except (OSError, UnicodeDecodeError) as error:
        raise VicurError(f"cannot be read ({error}).", where=str(path), remedy=_REBUILD) from error
    try:
        version = _Versioned.model_validate_json(text).schema_version
        if version != SCHEMA_VERSION:
            raise VicurError(
                f"has schema version {version}, and this release reads version {SCHEMA_VERSION}.",
                where=str(path),
                remedy="Build the dataset again with this release, or use the release that wrote it.",
            )
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise VicurError(f"{first['msg']}.", where=f"{path}:{field}", remedy=_REBUILD) from error


class _Versioned(BaseModel):
    """All that is read of a manifest before its version is known."""

    schema_version: int


def read_examples(folder: Path, split: str | None = None) -> list[Example]:
    """Reads the examples of one split, or of all; only the shards that are asked for are opened.

    Raises:
        VicurError: where the folder is no dataset, a split is not in it, or a shard is not as it was written.
    """
    manifest = read_manifest(folder)
    if split is not None and split not in manifest.examples:
        raise VicurError(
            f"has no split {split!r}; it has {', '.join(manifest.examples) or 'none'}.",
            where=str(folder),
            remedy="Name one of these, or add examples of that split to the source.",
        )
    return [
        example for shard in manifest.shards if split in (None, shard.split) for example in _read_shard(folder, shard)
    ]


def _read_shard(folder: Path, shard: Shard) -> Iterator[Example]:
    """Reads a shard and holds it against the manifest."""
    from vicur.data.shards import read_shard

    path = folder / shard.file
    if not path.is_file():
        raise VicurError("is missing, and manifest.json names it.", where=str(path), remedy=_REBUILD)
    rows = 0
    for rows, example in enumerate(read_shard(path), start=1):
        if example.split != shard.split:
            raise VicurError(
                f"is of split {example.split}, in a file of split {shard.split}.",
                where=f"{path}:row {rows}:split",
                remedy=_REBUILD,
            )
        yield example
    if rows != shard.rows:
        raise VicurError(f"holds {rows} rows, and manifest.json says {shard.rows}.", where=str(path), remedy=_REBUILD)


class Verification(BaseModel):
    """What :func:`verify` found whole."""

    dataset_hash: str
    """DVC's hash of the folder."""
    examples: dict[str, int]
    """Number of examples by split."""


def verify(folder: Path) -> Verification:
    """Checks a dataset to the last byte: hashes, rows, unique ids, and that every image decodes.

    Raises:
        VicurError: naming the file, and the row where one is at fault.
    """
    manifest = read_manifest(folder)
    seen: dict[str, str] = {}
    images: set[bytes] = set()
    for shard in manifest.shards:
        path = folder / shard.file
        for row, example in enumerate(_read_shard(folder, shard), start=1):
            where = f"{path}:row {row}"
            if example.id in seen:
                raise VicurError(
                    f"{example.id!r} is also the id of {seen[example.id]}.", where=f"{where}:id", remedy=_REBUILD
                )
            seen[example.id] = where
            for place, image in enumerate(example.images):
                # Questions about one scene share its image.
                if image not in images:
                    _check_stored(image, f"{where}:images[{place}]")
            images = set(example.images)
        # Rows come first: they can say where a file is damaged, its hash only that it is.
        if file_sha256(path) != shard.sha256:
            raise VicurError("has other bytes than manifest.json says.", where=str(path), remedy=_REBUILD)
    strangers = sorted({path.name for path in folder.glob("*.parquet")} - {shard.file for shard in manifest.shards})
    if strangers:
        raise VicurError(
            "is not named by manifest.json.", where=str(folder / strangers[0]), remedy="Move the file elsewhere."
        )
    return Verification(dataset_hash=dvc_hash(folder).md5, examples=manifest.examples)


def _check_stored(image: bytes, where: str) -> None:
    try:
        check_image(image, _MAX_PIXELS)
    except UnusableImageError as fault:
        raise VicurError(f"{fault.reason}.", where=where, remedy=_REBUILD) from fault
