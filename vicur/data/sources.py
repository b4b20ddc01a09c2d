"""The sources of a dataset: one class for each ``type`` of the section ``data``.

To add a source, add its section to ``DataConfig`` in :mod:`vicur.config.data`, and register a class here.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from vicur.config.data import (
    DataConfig,
    DigitScenesConfig,
    FolderConfig,
    ImportConfig,
    PinnedConfig,
    RemoteConfig,
    SourceConfig,
)
from vicur.config.section import Section
from vicur.data.dataset import MANIFEST, DatasetWriter, read_manifest
from vicur.data.fetch import RemoteFile, fetch, verify_fetched
from vicur.data.formats import SourceFolder, chosen_format
from vicur.data.importing import Skipped, import_folder
from vicur.data.pin import dvc_hash
from vicur.data.pinned import pinned_files
from vicur.data.remote import remote_files, written_listing
from vicur.data.schema import Manifest
from vicur.data.splitting import require_splits
from vicur.errors import VicurError
from vicur.stage.runner import Context
from vicur.storage.folders import files_below, folder_listing
from vicur.storage.object_store import Objects, objects_at

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".tar")
"""Endings of data files, by which a folder that is not here yet is recognised as a source."""

C = TypeVar("C", bound=SourceConfig)
Written = tuple[Manifest, Skipped]
"""Manifest of a dataset that was written, and the rows of its source that were skipped."""


class Source(ABC, Generic[C]):
    """A kind of source. Subclasses set ``config``, the section that selects them by its ``type``, and define every method."""

    config: type[Any]

    @abstractmethod
    def inputs(self, config: C) -> dict[str, Path]:
        """Return the files and folders whose bytes are part of the stage's identity, or raise an error if there is nothing to read.

        A source whose section identifies the data, by a seed or by a hash, has none.
        """

    @abstractmethod
    def cache_token(self, config: C) -> Any:
        """Return a JSON value for the platform's cache that changes with the data, or ``None`` if the section identifies the data.

        It is computed for every run, so it must not fetch or hash the data.
        """

    @abstractmethod
    def check(self, config: C) -> str:
        """Describe the data for the preflight report, or raise an error if they do not exist. Nothing is fetched."""

    def training_examples(self, config: C) -> int | None:  # noqa: ARG002
        """Return the number of examples to train on, or ``None`` if only the data say it."""
        return None

    @abstractmethod
    def read(self, config: C, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        """Write the dataset to the empty folder ``output``, resuming an interrupted download in ``context.work``."""


SOURCES: dict[str, Source[Any]] = {}
"""Every source by the ``type`` of its section."""

S = TypeVar("S", bound=type[Source[Any]])


def register(source: S) -> S:
    """Add a source class to :data:`SOURCES`, or raise a ``TypeError`` if it leaves out a method."""
    # Half a source must not work halfway: without inputs or a cache token, a stale dataset would be reused.
    missing = sorted(source.__abstractmethods__) + ([] if hasattr(source, "config") else ["config"])
    if missing:
        raise TypeError(f"{source.__name__} is not a complete source: it does not define {', '.join(missing)}")
    name = source.config.model_fields["type"].default
    if name in SOURCES:
        raise TypeError(f"data.type={name} has a source already: {type(SOURCES[name]).__name__}")
    SOURCES[name] = source()
    return source


def source_of(config: SourceConfig) -> Source[Any]:
    """Return the source that a section selects."""
    if config.type not in SOURCES:
        raise TypeError(f"no source is registered for data.type={config.type}")
    return SOURCES[config.type]


def stage_inputs(section: Section) -> dict[str, Path]:
    """Return the files and folders outside the pipeline that a stage with this section reads."""
    return source_of(section).inputs(section) if isinstance(section, SourceConfig) else section.inputs()


@register
class DigitScenesSource(Source[DigitScenesConfig]):
    """The embedded digit scenes, which are rendered from the root seed."""

    config = DigitScenesConfig

    def inputs(self, config: DigitScenesConfig) -> dict[str, Path]:  # noqa: ARG002
        return {}

    def cache_token(self, config: DigitScenesConfig) -> None:
        """Return ``None``: the section and the root seed identify the data."""

    def check(self, config: DigitScenesConfig) -> str:  # noqa: ARG002
        return "digit scenes, rendered by the first step"

    def training_examples(self, config: DigitScenesConfig) -> int:
        return config.distill.scenes * config.distill.questions

    def read(
        self,
        config: DigitScenesConfig,
        inputs: Mapping[str, Path],  # noqa: ARG002
        output: Path,
        context: Context,
    ) -> Written:
        from vicur.data.digit_scenes import generate

        writer = DatasetWriter(output)
        total = sum(pool.scenes * pool.questions for pool in config.pools.values())
        for number, example in enumerate(generate(config, context.seed), start=1):
            writer.add(example)
            context.events.progress(number, total, example.split)
        return writer.finish(config.identity(), context.seed, skipped=0), Skipped()


@register
class FolderSource(Source[FolderConfig]):
    """A user's own folder of rows and images."""

    config = FolderConfig

    def inputs(self, config: FolderConfig) -> dict[str, Path]:
        chosen_format(SourceFolder(config.path), config)
        return config.inputs()

    def cache_token(self, config: FolderConfig) -> Any:
        # None for a folder that only the pipeline's steps can see.
        return folder_listing(config.path)

    def check(self, config: FolderConfig) -> str:
        if not config.path.is_dir():
            raise VicurError(
                "is not a folder.",
                where=str(config.path),
                remedy="Correct data.path. Steps in a cluster cannot see this machine's folders: name the dataset by hash or "
                "address (docs/data.md).",
            )
        found = chosen_format(SourceFolder(config.path), config)
        return f"{config.path}, in the format {found.name}"

    def read(self, config: FolderConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        return import_folder(config, SourceFolder(inputs["source"]), output, context)


@register
class PinnedSource(Source[PinnedConfig]):
    """A folder in a DVC remote, identified by its hash."""

    config = PinnedConfig

    def inputs(self, config: PinnedConfig) -> dict[str, Path]:  # noqa: ARG002
        return {}

    def cache_token(self, config: PinnedConfig) -> None:
        """Return ``None``: the hash identifies the data."""

    def check(self, config: PinnedConfig) -> str:
        count = len(pinned_files(config.hash, objects_at(config.remote)))
        return f"{config.hash} at {config.remote}, {count} file{'' if count == 1 else 's'}"

    def read(
        self,
        config: PinnedConfig,
        inputs: Mapping[str, Path],  # noqa: ARG002
        output: Path,
        context: Context,
    ) -> Written:
        objects = objects_at(config.remote)
        files = pinned_files(config.hash, objects)
        _require_dataset(files, f"{config.hash} in {objects.address}")
        return _take_or_import(config, SourceFolder(_fetched(files, objects, context)), output, context)


@register
class RemoteSource(Source[RemoteConfig]):
    """A folder on S3, identified by its hash if one is configured and otherwise by what S3 lists."""

    config = RemoteConfig

    def inputs(self, config: RemoteConfig) -> dict[str, Path]:
        return {} if config.hash else {"source": written_listing(config.uri)}

    def cache_token(self, config: RemoteConfig) -> str | None:
        # A configured hash is part of the section's identity, so S3 need not be asked.
        return None if config.hash else written_listing(config.uri).read_text(encoding="utf-8")

    def check(self, config: RemoteConfig) -> str:
        if objects_at(config.uri, impatient=True).is_empty():
            raise VicurError("is empty.", where=config.uri, remedy="Correct data.uri, or upload the dataset.")
        return f"{config.uri} is not empty"

    def read(self, config: RemoteConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        objects = objects_at(config.uri)
        files = remote_files(objects, inputs.get("source"))
        _require_dataset(files, objects.address)
        folder = _fetched(files, objects, context)
        if config.hash and (found := dvc_hash(folder).md5) != config.hash:
            # The next attempt must not resume from files that are known to be wrong.
            shutil.rmtree(folder)
            raise VicurError(
                f"has hash {found}, but data.hash is {config.hash}.",
                where=objects.address,
                remedy="Correct data.hash, or upload the right folder. Every file below the address counts.",
            )
        return _take_or_import(config, SourceFolder(folder, objects.address), output, context)


def _require_dataset(files: Sequence[RemoteFile], where: str) -> None:
    # The names are enough to refuse a wrong address. The format is recognised once the files are here.
    if not any(each.path == MANIFEST or each.path.lower().endswith(ENDINGS) for each in files):
        raise VicurError(
            f"contains neither a prepared dataset ({MANIFEST}) nor data files ({', '.join(ENDINGS)}).",
            where=where,
            remedy="Name the folder that has such files.",
        )


def _fetched(files: Sequence[RemoteFile], objects: Objects, context: Context) -> Path:
    return fetch(files, objects, context.work / "fetched", context.events)


def _take_or_import(config: ImportConfig, source: SourceFolder, output: Path, context: Context) -> Written:
    fetched = source.path
    if not (fetched / MANIFEST).is_file():
        return import_folder(config, source, output, context)
    # A prepared dataset: move its files, so that its bytes and its hash stay the same.
    address = source.address or str(fetched)
    require_splits(verify_fetched(fetched, address).examples, config.required_splits, address)
    for file in files_below(fetched):
        place = output / file.relative_to(fetched)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, place)
    return read_manifest(output), Skipped()


def _require_all_registered() -> None:
    # At import, so that a section without a source fails before a run has started.
    for config in get_args(get_args(DataConfig)[0]):
        if SOURCES.get(config.model_fields["type"].default) is None:
            raise TypeError(f"{config.__name__} has no source class in vicur.data.sources")


_require_all_registered()
