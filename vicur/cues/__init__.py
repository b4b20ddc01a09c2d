"""Visual cues: what makes them, how a teacher is hinted with them, and the audit of every one."""

from vicur.cues.extract import EXTRACT, ExtractSummary, extract
from vicur.cues.store import read_cues

__all__ = ["EXTRACT", "ExtractSummary", "extract", "read_cues"]
