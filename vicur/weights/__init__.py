"""Base weights, staged once: fetched from where they are published, checked, and put where every step reads them."""

from vicur.weights.install import Staged, stage
from vicur.weights.record import RECORD, Record, check
from vicur.weights.sources import Source, source_of

__all__ = ["RECORD", "Record", "Source", "Staged", "check", "source_of", "stage"]
