"""The dataset: sources of examples, storage in parquet shards, and the pinned hash (``data.dvc``)."""

from vicur.data.dataset import read_examples, read_manifest
from vicur.data.pin import Pin, check_pin, dvc_hash, pin, read_pin, store_if_pinned
from vicur.data.prepare import PREPARE, PrepareSummary, prepare
from vicur.data.schema import Example, Manifest
from vicur.data.sources import SOURCES, Source, stage_inputs
from vicur.data.verification import Verification, verify

__all__ = [
    "PREPARE",
    "SOURCES",
    "Example",
    "Manifest",
    "Pin",
    "PrepareSummary",
    "Source",
    "Verification",
    "check_pin",
    "dvc_hash",
    "pin",
    "prepare",
    "read_examples",
    "read_manifest",
    "read_pin",
    "stage_inputs",
    "store_if_pinned",
    "verify",
]
