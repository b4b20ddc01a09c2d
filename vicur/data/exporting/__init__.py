"""Exports of a dataset to the layouts of other libraries, each of which ``vicur data prepare`` reads again."""

from vicur.data.exporting.base import EXPORTERS, Exporter
from vicur.data.exporting.export import Export, export
from vicur.data.exporting.hf import HuggingFaceExporter
from vicur.data.exporting.jsonl import JsonlExporter
from vicur.data.exporting.verl import VerlExporter
from vicur.data.exporting.webdataset import WebDatasetExporter

__all__ = [
    "EXPORTERS",
    "Export",
    "Exporter",
    "HuggingFaceExporter",
    "JsonlExporter",
    "VerlExporter",
    "WebDatasetExporter",
    "export",
]
