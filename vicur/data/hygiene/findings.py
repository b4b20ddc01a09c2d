"""What the rules over all examples found, for the summary, the profile page and ``findings.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

FINDINGS = "findings.json"

Rule = Literal["leaked", "similar_question", "shared_image", "repeated", "contradiction"]
TITLES: dict[Rule, str] = {
    "leaked": "Held-out questions in the training data",
    "similar_question": "The same question about a similar image, with another answer",
    "shared_image": "Images of held-out questions in the training data, with other questions",
    "repeated": "Questions that occur several times in a split",
    "contradiction": "Different answers to the same question about the same image",
}


class Instance(BaseModel):
    """One instance of a finding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ids: tuple[str, ...]
    """The examples concerned, at most eight."""
    splits: tuple[str, ...]
    """Their splits."""
    detail: str
    """The answers, or in what the examples agree."""


class Finding(BaseModel):
    """The result of one rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Rule
    count: int
    """Number of examples concerned, or of questions (``repeated`` and ``contradiction``)."""
    dropped: bool = False
    """Whether these examples were left out of the dataset."""
    instances: tuple[Instance, ...]
    """The first instances."""

    @property
    def title(self) -> str:
        return TITLES[self.rule]


class ImageNote(BaseModel):
    """What was changed in some images when they were brought into the stored form, such as the frames that were left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    count: int
    """Number of these images."""
    example: str
    """Id of the first example with one."""

    @property
    def is_loss(self) -> bool:
        """Whether frames or pages were left out."""
        return self.text.endswith("is used")


class Findings(BaseModel):
    """Content of ``findings.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int
    """Number of distinct images."""
    near_copies: int
    """Number of distinct images that are near-duplicates of another one."""
    findings: tuple[Finding, ...]
    """Rules that found something."""
    notes: tuple[ImageNote, ...] = ()
    """Images that were changed, the most frequent change first."""

    def to_json(self) -> str:
        """Return the content of the file."""
        return self.model_dump_json(indent=1, exclude=None if self.notes else {"notes"})

    def count(self, rule: Rule) -> int:
        """Return what a rule counted."""
        return sum(each.count for each in self.findings if each.rule == rule)

    def summary(self) -> str:
        """Name what needs a decision in one line; empty if nothing does."""
        texts: dict[Rule, str] = {
            "leaked": "held-out questions in the training data",
            "contradiction": "contradictions",
        }
        return "; ".join(
            f"{each.count:,} {texts[each.rule]}{' (dropped)' if each.dropped else ''}"
            for each in self.findings
            if each.rule in texts
        )


def read_findings(folder: Path) -> Findings | None:
    """Return the findings in a dataset folder, or ``None`` if it has none."""
    path = folder / FINDINGS
    if not path.is_file():
        return None
    return Findings.model_validate_json(path.read_text(encoding="utf-8"))
