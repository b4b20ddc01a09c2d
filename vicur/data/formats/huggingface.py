"""A dataset folder of the Hugging Face Hub whose README.md lists its data files by split (``configs`` in its header).

The files are read by the formats of their endings. A loading script in the folder is never run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from vicur.config.data import ImportConfig
from vicur.data.formats.base import Format, Recognised, Record, Unit
from vicur.data.formats.json_files import JsonFormat
from vicur.data.formats.registry import FORMATS, register
from vicur.data.formats.row_files import RowFiles
from vicur.data.formats.source_folder import SourceFolder
from vicur.data.splitting import file_split
from vicur.errors import VicurError
from vicur.wording import listed

_CARD = "README.md"
_LARGEST_HEADER = 1 << 20
_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet", ".pq", ".arrow")
_READERS = ("json", "csv", "tsv", "parquet", "arrow")


@dataclass(frozen=True)
class _Part:
    file: str
    split: str | None


@register
class HuggingFaceFormat(Format):
    """Files that the header of a README.md lists."""

    name = "huggingface"
    description = "a Hugging Face dataset folder whose README.md lists its data files by split (configs)"
    columns = JsonFormat.columns
    is_general = True
    refines = ("jsonl", "json", "csv", "tsv", "parquet", "arrow")

    def recognise(self, folder: SourceFolder, config: ImportConfig) -> Recognised | None:
        if config.files or not _configurations(folder):
            return None
        parts = _parts(folder, config)
        return Recognised([part.file for part in parts]) if parts else None

    def units(self, folder: SourceFolder, config: ImportConfig) -> list[Unit]:
        parts = _parts(folder, config)
        if not parts:
            raise VicurError(
                "lists no data files that are here.",
                where=str(folder.path / _CARD),
                remedy="Copy the whole dataset, or set data.format to the format of its files.",
            )
        return [unit for part in parts for unit in _reader(part.file).file_units(folder, part.file, part.split)]

    def records(self, folder: SourceFolder, unit: Unit, config: ImportConfig) -> Iterator[Record]:
        return _reader(unit.file).records(folder, unit, config)


def _reader(name: str) -> RowFiles:
    for each in _READERS:
        reader = FORMATS[each]
        if isinstance(reader, RowFiles) and name.lower().endswith(reader.endings):
            return reader
    raise VicurError(
        f"{name!r} is not in a format that is read.",
        where=_CARD,
        remedy=f"Set data.files to files in {listed(_READERS)}.",
    )


def _parts(folder: SourceFolder, config: ImportConfig) -> list[_Part]:
    """Return the files of the chosen configuration, with their splits."""
    configurations = _configurations(folder)
    name = config.subset or next((n for n, c in configurations.items() if c.get("default") is True), "default")
    if name not in configurations:
        if config.subset or len(configurations) > 1:
            raise VicurError(
                f"has no configuration {name!r}." if config.subset else "has several configurations.",
                where=str(folder.path / _CARD),
                remedy=f"Set data.subset to one of {listed(configurations, 20)}.",
            )
        name = next(iter(configurations))
    base = str(configurations[name].get("data_dir") or "").strip("/")
    return [
        _Part(file, split or file_split(file, config.splits))
        for split, patterns in _files_by_split(configurations[name].get("data_files") or "*")
        for file in folder.matching(f"{base}/{each}" if base else each for each in patterns)
        # A pattern for all files of a folder matches those that explain it, too.
        if file.lower().endswith(_ENDINGS) or "*" not in "".join(patterns)
    ]


def _files_by_split(value: Any) -> list[tuple[str | None, list[str]]]:
    """Return the patterns of each split, which a card may write as a pattern, a list of patterns or a list of splits."""
    if isinstance(value, dict):
        value = [{"split": split, "path": path} for split, path in value.items()]
    if not isinstance(value, list):
        value = [value]
    found: list[tuple[str | None, list[str]]] = []
    for each in value:
        if isinstance(each, str):
            found.append((None, [each]))
        elif isinstance(each, dict):
            paths = each.get("path")
            patterns = [path for path in (paths if isinstance(paths, list) else [paths]) if isinstance(path, str)]
            found.append((str(each["split"]) if each.get("split") else None, patterns))
    return found


def _configurations(folder: SourceFolder) -> dict[str, dict[str, Any]]:
    """Return the configurations with data files in the header of README.md by name; empty if it has no such header."""
    if _CARD not in folder.files:
        return {}
    with folder.open(_CARD) as stream:
        text = stream.read(_LARGEST_HEADER).decode("utf-8", "replace")
    if not text.startswith("---"):
        return {}
    try:
        header = yaml.safe_load(text[3:].partition("\n---")[0])
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    configurations = header.get("configs") if isinstance(header, dict) else None
    if not isinstance(configurations, list):
        return {}
    return {
        str(each.get("config_name", "default")): each
        for each in configurations
        if isinstance(each, dict) and (each.get("data_files") or each.get("data_dir"))
    }
