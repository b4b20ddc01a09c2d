"""Visual cues: providers that make them, hints that carry them to the teacher, and the audit of every cue."""

from vicur.cues.extract import EXTRACT, ExtractSummary, extract
from vicur.cues.store import read_cues

__all__ = ["EXTRACT", "ExtractSummary", "extract", "read_cues"]
