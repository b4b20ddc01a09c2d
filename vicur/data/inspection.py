"""Looks at a source before it is prepared: its format, columns and splits, the section ``data`` to use, and its first rows as read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from vicur.config.data import ImportConfig
from vicur.data.answer_index import numbers_in
from vicur.data.excerpt import ExcerptFolder
from vicur.data.formats import FORMATS, SourceFolder, Unit
from vicur.data.formats.base import Format, Record
from vicur.data.formats.recognition import Candidate, candidates, chosen_format
from vicur.data.guessing import guessed_columns
from vicur.data.images import plain_size
from vicur.data.reading import first_records
from vicur.data.row_columns import Layout, matched
from vicur.data.rows import Row, read_row
from vicur.data.schema import Example, SkippedRow, UnusableRowError
from vicur.data.splitting import DEFAULT_SHARES, is_shared_out, named_split
from vicur.wording import listed

_SHOWN = 8  # names in a message


class ShownRow(BaseModel):
    """An example as it was read."""

    file: str
    row: int
    id: str
    split: str | None
    """``None`` if it is to be shared out."""
    images: list[str]
    """Width and height: ``640 x 480``."""
    question: str
    choices: list[str]
    answer: str


class Inspection(BaseModel):
    """What was found out about a source."""

    format: str
    description: str
    config: dict[str, Any]
    """The section ``data`` that reads the source like this."""
    columns: dict[str, str]
    """The source's column of each field."""
    unused: list[str]
    """Columns without a field."""
    splits: dict[str, str]
    """Our split for each of the source's names."""
    read: int
    """Rows in the sample."""
    usable: int
    skipped: list[SkippedRow]
    """The first unusable row for each reason."""
    rows: list[ShownRow]
    unsure: list[str]
    """Doubts, as sentences."""
    fetched: str
    """How much of a source at an address was fetched; empty for a folder on this machine."""


@dataclass
class _Sample:
    records: list[Record] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    skipped: list[SkippedRow] = field(default_factory=list)


def inspect(folder: SourceFolder, config: ImportConfig, shown: int = 3) -> Inspection:
    """Read a sample of a source. Of an :class:`ExcerptFolder`, only what the sample needs is fetched.

    Args:
        shown: number of rows to return.

    Raises:
        VicurError: if the source is in no format that is known.
    """
    unsure: list[str] = []
    found, config = _recognised(folder, config, unsure)
    units = found.format.units(folder, config)
    decided = _with_answer_index(found.format, folder, config, units, unsure)
    layout = Layout.of(found.format, decided, seed=0)
    sample = _sampled(found.format, folder, config, units, layout)
    columns, unused = _columns(sample.records, layout)
    labels = _labels(sample, units)
    splits = {
        label: split
        for label in labels
        if (split := _split_or_none(label, config)) is not None and not is_shared_out(config.splits)
    }
    unsure += [f"{name} is not read: it {reason}" for name, reason in list(found.found.left_out.items())[:_SHOWN]]
    unsure += [*found.found.unsure, *_doubts(sample, columns, splits, config)]
    # Of each reason the first: later entries of a mapping replace earlier ones.
    reasons = {(each.field.partition("[")[0], each.reason[:40]): each for each in reversed(sample.skipped)}
    return Inspection(
        format=found.format.name,
        description=found.format.description,
        config=_section(config, found.format, columns, splits, is_numbered=bool(_repeated(sample))),
        columns=columns,
        unused=unused,
        splits=splits,
        read=len(sample.records),
        usable=len(sample.rows),
        skipped=list(reversed(reasons.values())),
        rows=[_shown(row) for row in sample.rows[:shown]],
        unsure=unsure,
        fetched=folder.extent if isinstance(folder, ExcerptFolder) else "",
    )


def sample(folder: SourceFolder, config: ImportConfig) -> list[Example]:
    """Return the usable ones of about :attr:`SourceFolder.sampled` rows, from the beginnings of several files.

    Raises:
        VicurError: if the source is in no format that is known.
    """
    found, config = _recognised(folder, config, [])
    units = found.format.units(folder, config)
    layout = Layout.of(found.format, _with_answer_index(found.format, folder, config, units, []), seed=0)
    return [row.example for row in _sampled(found.format, folder, config, units, layout).rows]


def _recognised(folder: SourceFolder, config: ImportConfig, unsure: list[str]) -> tuple[Candidate, ImportConfig]:
    """Return the format, and the configuration with columns that were guessed from their values if their names say nothing."""
    if config.format != "auto":
        format_ = FORMATS[config.format]
        found = format_.recognise(folder, config)
        every = [Candidate(format_, found)] if found is not None else []
    else:
        every = candidates(folder, config) if folder.path.is_dir() else []
    readable = [each for each in every if each.found.files]
    if len(readable) > 1:
        others = listed((each.format.name for each in readable[1:]), _SHOWN)
        unsure.append(f"The files could also be read as {others}: set data.format, or data.files to the files to read.")
    if readable:
        return readable[0], config
    for each in every:
        for name in each.found.left_out:
            guess = _guessed(each.format, folder, config, name)
            if guess is not None:
                texts = ", ".join(f"{field} = {columns[0]!r}" for field, columns in guess.fields.items())
                unsure.append(f"The columns were guessed from their values: {texts}.")
                recognised = each.format.recognise(folder, guess)
                return Candidate(each.format, recognised or each.found), guess
    chosen_format(folder, config)
    raise AssertionError("chosen_format raises an error if no format fits")


def _guessed(format_: Format, folder: SourceFolder, config: ImportConfig, name: str) -> ImportConfig | None:
    only = config.model_copy(update={"files": (name,), "format": format_.name})
    recognised = format_.recognise(folder, only)
    if recognised is None or not recognised.files:
        return None
    records = first_records(format_, folder, only, format_.units(folder, only)[:1])
    rows = [record.columns for record in records if isinstance(record.columns, Mapping)]
    guessed = {field: (column,) for field, column in guessed_columns(rows, folder, name).items()}
    if not {"question", "answer"} <= guessed.keys() | config.fields.keys():
        return None
    return config.model_copy(update={"fields": {**guessed, **config.fields}, "format": format_.name})


def _with_answer_index(
    format_: Format, folder: SourceFolder, config: ImportConfig, units: list[Unit], unsure: list[str]
) -> ImportConfig:
    """Return the configuration with ``answer_index`` as the sample says it, which all rows may decide otherwise."""
    if config.answer_index != "auto":
        return config
    numbers = numbers_in(first_records(format_, folder, config, units), Layout.of(format_, config, seed=0))
    if numbers.index == "none":
        return config
    counted = f"{numbers.numbers} of {numbers.rows} answers are the number of a choice, {numbers.smallest} to {numbers.largest}"
    if numbers.index == "auto":
        unsure.append(
            f"{counted}: set data.answer_index to 0 or 1, unless other rows have an answer 0 or the number of their choices."
        )
        return config
    unsure.append(
        f"{counted}, so they count choices from {numbers.index}; prepare decides it by all rows. Compare the rows above."
    )
    return config.model_copy(update={"answer_index": numbers.index})


def _sampled(format_: Format, folder: SourceFolder, config: ImportConfig, units: list[Unit], layout: Layout) -> _Sample:
    sample = _Sample()
    for record in first_records(format_, folder, config, units):
        row = read_row(record, folder, layout)
        if row is None:
            continue
        sample.records.append(record)
        if isinstance(row, Row):
            sample.rows.append(row)
        else:
            sample.skipped.append(row)
    return sample


def _columns(records: list[Record], layout: Layout) -> tuple[dict[str, str], list[str]]:
    columns: dict[str, str] = {}
    names: dict[str, None] = {}
    used: set[str] = set()
    for record in records:
        if isinstance(record.columns, Mapping):
            present = {name: value for name, value in record.columns.items() if value is not None}
            for our_field, match in matched(present, layout).items():
                columns.setdefault(our_field, match.column)
                used.update(match.names)
            names.update(dict.fromkeys(present))
    return columns, [name for name in names if name not in used]


def _labels(sample: _Sample, units: list[Unit]) -> list[str]:
    labels = dict.fromkeys(unit.split for unit in units if unit.split is not None)
    for record in sample.records:
        if isinstance(record.columns, Mapping) and isinstance(label := record.columns.get("split"), str) and label:
            labels[label] = None
    return list(labels)


def _split_or_none(label: str, config: ImportConfig) -> str | None:
    try:
        return named_split(label, config.splits, "", 0)
    except UnusableRowError:
        return None


def _doubts(
    sample: _Sample, columns: Mapping[str, str], splits: Mapping[str, str], config: ImportConfig
) -> Iterator[str]:
    if not {"images", "video"} & columns.keys():
        yield "No column has images: set images in data.fields, unless the questions are about text alone."
    if "video" not in columns and any("<video>" in row.example.question for row in sample.rows):
        yield "Questions have markers <video>, but no column has videos: set video in data.fields, or read the markers as text."
    if blind := sum(not row.example.images for row in sample.rows if "images" in columns):
        yield f"{blind} of {len(sample.rows)} rows have no image."
    if "id" not in columns:
        yield "No column has ids: they are made from file and row, so they change if rows are inserted."
    if repeated := _repeated(sample):
        shown = f"Ids are repeated ({listed(map(repr, repeated), 3)})"
        numbered = "or to [] to number the rows" if "id" in config.fields else "or keep [], which numbers the rows"
        yield f"{shown}: set id in data.fields to another column, {numbered}."
    unnamed = sum(row.split is None for row in sample.rows)
    present = {row.split for row in sample.rows if row.split} | set(splits.values())
    if unnamed == len(sample.rows):
        yield "The rows name no splits: they are shared out by image, as data.splits says."
    elif unnamed:
        yield f"{unnamed} of {len(sample.rows)} rows name no split, and cannot be used while others do."
    missing = [split for split in config.required_splits if split not in present]
    if present and missing and "distill" in present:
        yield f"There is no split {listed(missing)}: it is shared out of distill by image."
    elif present and missing:
        yield f"There are no rows for the split {listed(missing)}, which later stages need: see data.required_splits."


def _repeated(sample: _Sample) -> list[str]:
    """Return the ids that several rows have."""
    return [name for name, count in Counter(row.example.id for row in sample.rows).items() if count > 1]


def _section(
    config: ImportConfig, format_: Format, columns: Mapping[str, str], splits: Mapping[str, str], *, is_numbered: bool
) -> dict[str, Any]:
    given = config.model_dump(mode="json", exclude_defaults=True)
    places = ("path", "uri", "hash", "remote", "repository", "revision")
    place: dict[str, Any] = {name: given.pop(name) for name in places if name in given}
    section: dict[str, Any] = {"type": config.type, **place, **given, "format": format_.name}
    # Formats of one dataset know its columns. For the others, writing them out lets the user see and change them.
    if format_.is_general:
        given_fields = {name: each[0] if len(each) == 1 else list(each) for name, each in config.fields.items()}
        guessed = {name: column for name, column in columns.items() if column != name}
        section["fields"] = {**guessed, **({"id": []} if is_numbered else {}), **given_fields}
    if not config.splits and not splits:
        section["splits"] = dict(DEFAULT_SHARES)
    elif not config.splits:
        section["splits"] = {label: split for label, split in splits.items() if label != split}
    return {name: value for name, value in section.items() if value not in ({}, [])}


def _shown(row: Row) -> ShownRow:
    example = row.example
    images = ["{} x {}".format(*plain_size(image)) for image in example.images]
    if example.video is not None:
        images = [f"video of {len(images)} frames of {images[0]}, {example.video.timestamps[-1]:.1f} seconds"]
    return ShownRow(
        file=row.file,
        row=row.row,
        id=example.id,
        split=row.split,
        images=images,
        question=example.question,
        choices=list(example.choices),
        answer=example.answer,
    )
