"""The sources of a dataset: one class for each ``type`` of the section ``data``.

To add a source, add its section to ``DataConfig`` in :mod:`vicur.config.data`, and register a class here.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from vicur.config.data import (
    DataConfig,
    DigitScenesConfig,
    FolderConfig,
    HubConfig,
    PinnedConfig,
    RemoteConfig,
    SourceConfig,
)
from vicur.config.section import Section
from vicur.data.dataset import DatasetWriter
from vicur.data.excerpt import ExcerptFolder
from vicur.data.fetch import fetch
from vicur.data.fetched import require_dataset, take_or_import
from vicur.data.formats import SourceFolder, chosen_format
from vicur.data.hub import fetch_from_hub, hub_files, read_hub_range
from vicur.data.importing import Skipped, import_folder
from vicur.data.pin import dvc_hash
from vicur.data.pinned import pinned_files
from vicur.data.remote import remote_files, written_listing
from vicur.data.schema import Manifest
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.stage.portions import portions_in
from vicur.stage.runner import Context
from vicur.storage.folders import folder_listing
from vicur.storage.object_store import objects_at

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

    def states(self, config: C, inputs: Mapping[str, Path]) -> dict[str, str]:  # noqa: ARG002
        """Return a text for each file of the source that changes with its content, by the file's path. Nothing is fetched or hashed.

        Every machine that can read the source gets the same texts. A source without any is not divided into portions.
        """
        return {}

    @abstractmethod
    def check(self, config: C) -> str:
        """Describe the data for the preflight report, or raise an error if they do not exist. Nothing is fetched."""

    def training_examples(self, config: C) -> int | None:  # noqa: ARG002
        """Return the number of examples to train on, or ``None`` if only the data say it."""
        return None

    def folder(self, config: C, inputs: Mapping[str, Path], work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        """Return the source's data files, fetched to ``work`` if they are not on this machine."""
        raise VicurError(
            "has no data files.",
            where=f"data.type={config.type}",
            remedy="Name a folder, an address or a hash (docs/data.md).",
        )

    def excerpt(self, config: C, work: Path, events: Events) -> SourceFolder:
        """Return the source's data files for a look at their first rows: fetched in part when they are opened, if they are elsewhere.

        Args:
            work: an empty folder.
        """
        return self.folder(config, self.inputs(config), work, events)

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


def all_inputs(section: Section, inputs: Mapping[str, Path]) -> dict[str, Path]:
    """Return the inputs of a stage: those of the pipeline, and those outside that it reads itself."""
    # Portions have been read from the source, which a merge does not open.
    return dict(inputs) if portions_in(inputs) else {**stage_inputs(section), **inputs}


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

    def states(self, config: FolderConfig, inputs: Mapping[str, Path]) -> dict[str, str]:  # noqa: ARG002
        return {name: f"{size} {modified}" for name, size, modified in folder_listing(inputs["source"]) or ()}

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

    def folder(self, config: FolderConfig, inputs: Mapping[str, Path], work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        return SourceFolder(inputs["source"])

    def excerpt(self, config: FolderConfig, work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        # Without the check of inputs(), because columns may have to be guessed first.
        return SourceFolder(config.path)

    def read(self, config: FolderConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        return import_folder(config, self.folder(config, inputs, context.work, context.events), output, context)


@register
class PinnedSource(Source[PinnedConfig]):
    """A folder in a DVC remote, identified by its hash."""

    config = PinnedConfig

    def inputs(self, config: PinnedConfig) -> dict[str, Path]:  # noqa: ARG002
        return {}

    def cache_token(self, config: PinnedConfig) -> None:
        """Return ``None``: the hash identifies the data."""

    def states(self, config: PinnedConfig, inputs: Mapping[str, Path]) -> dict[str, str]:  # noqa: ARG002
        return {each.path: str(each.md5) for each in pinned_files(config.hash, objects_at(config.remote))}

    def check(self, config: PinnedConfig) -> str:
        count = len(pinned_files(config.hash, objects_at(config.remote)))
        return f"{config.hash} at {config.remote}, {count} file{'' if count == 1 else 's'}"

    def folder(self, config: PinnedConfig, inputs: Mapping[str, Path], work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        objects = objects_at(config.remote)
        files = pinned_files(config.hash, objects)
        require_dataset([each.path for each in files], f"{config.hash} in {objects.address}")
        return SourceFolder(fetch(files, objects, work / "fetched", events))

    def excerpt(self, config: PinnedConfig, work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        objects = objects_at(config.remote)
        keys = {each.path: each.key for each in pinned_files(config.hash, objects)}
        address = f"{config.hash} in {objects.address}"
        require_dataset(keys, address)

        def read_range(name: str, start: int, count: int) -> bytes:
            return objects.read_range(keys[name], start, count)

        # The listing has no sizes. A part of a file cannot be compared with its hash either: a training fetches and verifies all.
        return ExcerptFolder(
            work, dict.fromkeys(keys), read_range, address, size_of=lambda name: objects.size(keys[name])
        )

    def read(self, config: PinnedConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        source = self.folder(config, inputs, context.work, context.events)
        return take_or_import(config, source, output, context)


@register
class RemoteSource(Source[RemoteConfig]):
    """A folder on S3, identified by its hash if one is configured and otherwise by what S3 lists."""

    config = RemoteConfig

    def inputs(self, config: RemoteConfig) -> dict[str, Path]:
        return {} if config.hash else {"source": written_listing(config.uri)}

    def cache_token(self, config: RemoteConfig) -> str | None:
        # A configured hash is part of the section's identity, so no request to S3 is needed.
        return None if config.hash else written_listing(config.uri).read_text(encoding="utf-8")

    def states(self, config: RemoteConfig, inputs: Mapping[str, Path]) -> dict[str, str]:
        files = remote_files(objects_at(config.uri), inputs.get("source"))
        return {each.path: f"{each.size} {each.version}" for each in files}

    def check(self, config: RemoteConfig) -> str:
        if objects_at(config.uri, impatient=True).is_empty():
            raise VicurError("is empty.", where=config.uri, remedy="Correct data.uri, or upload the dataset.")
        return f"{config.uri} is not empty"

    def folder(self, config: RemoteConfig, inputs: Mapping[str, Path], work: Path, events: Events) -> SourceFolder:
        objects = objects_at(config.uri)
        files = remote_files(objects, inputs.get("source"))
        require_dataset([each.path for each in files], objects.address)
        folder = fetch(files, objects, work / "fetched", events)
        if config.hash and (found := dvc_hash(folder).md5) != config.hash:
            # The next attempt must not resume from files that are known to be wrong.
            shutil.rmtree(folder)
            raise VicurError(
                f"has hash {found}, but data.hash is {config.hash}.",
                where=objects.address,
                remedy="Correct data.hash, or upload the right folder. Every file below the address counts.",
            )
        return SourceFolder(folder, objects.address)

    def excerpt(self, config: RemoteConfig, work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        objects = objects_at(config.uri)
        sizes = {each.path: each.size or 0 for each in remote_files(objects, None)}
        require_dataset(sizes, objects.address)
        return ExcerptFolder(work, sizes, objects.read_range, objects.address)

    def read(self, config: RemoteConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        source = self.folder(config, inputs, context.work, context.events)
        return take_or_import(config, source, output, context)


@register
class HubSource(Source[HubConfig]):
    """A dataset on the Hugging Face Hub, identified by its commit."""

    config = HubConfig

    def inputs(self, config: HubConfig) -> dict[str, Path]:  # noqa: ARG002
        return {}

    def cache_token(self, config: HubConfig) -> None:
        """Return ``None``: the commit identifies the data."""

    def states(self, config: HubConfig, inputs: Mapping[str, Path]) -> dict[str, str]:  # noqa: ARG002
        return {name: str(entry.blob_id) for name, entry in hub_files(config).items()}

    def check(self, config: HubConfig) -> str:
        files = hub_files(config)
        return (
            f"{config.repository} at {config.revision[:12]}, {sum(each.size for each in files.values()) / 1e6:,.0f} MB"
        )

    def folder(self, config: HubConfig, inputs: Mapping[str, Path], work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        return SourceFolder(fetch_from_hub(config, work, events))

    def excerpt(self, config: HubConfig, work: Path, events: Events) -> SourceFolder:  # noqa: ARG002
        sizes = {name: entry.size for name, entry in hub_files(config).items()}
        return ExcerptFolder(work, sizes, partial(read_hub_range, config))

    def read(self, config: HubConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:
        source = self.folder(config, inputs, context.work, context.events)
        return take_or_import(config, source, output, context)


def _require_all_registered() -> None:
    # At import, so that a section without a source fails before a run has started.
    for config in get_args(get_args(DataConfig)[0]):
        if SOURCES.get(config.model_fields["type"].default) is None:
            raise TypeError(f"{config.__name__} has no source class in vicur.data.sources")


_require_all_registered()
