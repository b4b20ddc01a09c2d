"""Formats: how the files of a source become records. One class for each layout, registered by its name (``data.format``)."""

from vicur.data.formats import (  # noqa: F401 (register)
    benchmarks,
    conversations,
    csv_files,
    easy_vqa,
    examples,
    geometry3k,
    huggingface,
    iconqa,
    imagefolder,
    json_files,
    messages,
    nested,
    problems,
    reinforcement,
    scenes,
    science,
    table_files,
    vqa,
    webdataset,
)
from vicur.data.formats.base import Format, Recognised, Record, Unit
from vicur.data.formats.recognition import chosen_format
from vicur.data.formats.registry import FORMATS, register, require_all_registered
from vicur.data.formats.source_folder import SourceFolder

require_all_registered()

__all__ = ["FORMATS", "Format", "Recognised", "Record", "SourceFolder", "Unit", "chosen_format", "register"]
