"""Choose the format of a source: the configured one, or the only one that recognises its files."""

from __future__ import annotations

from dataclasses import dataclass

from vicur.config.data import ImportConfig
from vicur.data.formats.base import Format, Recognised
from vicur.data.formats.registry import FORMATS
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError
from vicur.wording import listed

_LISTED = 12  # formats or files in a message


@dataclass(frozen=True)
class Candidate:
    """A format that recognises files of a source."""

    format: Format
    found: Recognised


def candidates(folder: SourceFolder, config: ImportConfig) -> list[Candidate]:
    """Return the formats that recognise the source, without those that another one refines.

    A format that only has reasons to read none of the files is the last resort, for its reasons.
    """
    every, errors = [], []
    for each in FORMATS.values():
        try:
            recognised = each.recognise(folder, config)
        except VicurError as error:
            errors.append(error)
            continue
        if recognised is not None:
            every.append(Candidate(each, recognised))
    # A damaged file is nothing that may be left out, unless the layout of the source says that it is none of its data.
    if errors and not any(each.found.files and not each.format.is_general for each in every):
        raise errors[0]
    found = [each for each in every if each.found.files] or every
    found = [each for each in found if not each.format.is_general] or found
    refined = {name for each in found for name in each.format.refines}
    return [each for each in found if each.format.name not in refined]


def chosen_format(folder: SourceFolder, config: ImportConfig) -> Format:
    """Return the format of a source.

    Raises:
        VicurError: if no format recognises the files, or several do.
    """
    if config.format != "auto":
        return FORMATS[config.format]
    if not folder.path.is_dir():
        raise VicurError(
            "is not a folder.", where=str(folder.path), remedy="Set data.path to the folder with the data files."
        )
    found = candidates(folder, config)
    readable = [each for each in found if each.found.files]
    if len(readable) == 1:
        return readable[0].format
    where = folder.address or str(folder.path)
    if not readable:
        reasons = {f"{name} {reason}": None for each in found for name, reason in each.found.left_out.items()}
        raise VicurError(
            f"has no data files in a format that is recognised ({listed(reasons, 3, '; ') or _contents(folder)}).",
            where=where,
            remedy=f"Set data.format to one of {listed(FORMATS, _LISTED)}, or write an examples.jsonl (docs/formats.md).",
        )
    raise VicurError(
        f"could be read in several formats: {', '.join(f'{each.format.name} ({listed(each.found.files, 3)})' for each in found)}.",
        where=where,
        remedy="Set data.format to one of them, or data.files to the files to read.",
    )


def _contents(folder: SourceFolder) -> str:
    files = folder.files
    return f"it has {listed(files, 5)}" if files else "it has no files"
