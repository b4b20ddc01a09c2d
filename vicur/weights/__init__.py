"""Base weights, staged once: fetched from where they are published, checked, and put where every step reads them."""

from vicur.weights.record import RECORD, Record, check
from vicur.weights.sources import Source, source_of
from vicur.weights.stage import Staged, stage

__all__ = ["RECORD", "Record", "Source", "Staged", "check", "source_of", "stage"]
