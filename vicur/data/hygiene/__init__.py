"""What is wrong with a dataset as a whole: duplicates, repeated questions and contradictions."""

from vicur.data.hygiene.columns import ImageColumns, image_columns
from vicur.data.hygiene.examine import examine
from vicur.data.hygiene.findings import FINDINGS, Finding, Findings, read_findings
from vicur.data.hygiene.links import Links, link_images

__all__ = [
    "FINDINGS",
    "Finding",
    "Findings",
    "ImageColumns",
    "Links",
    "examine",
    "image_columns",
    "link_images",
    "read_findings",
]
