"""Portions of a stage: how many there are, and the settings of the steps that divide a stage and work on one portion of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig
from vicur.config.section import Section

MOST_PORTIONS = 64
"""Each is a pod, and the status of a run has room for a limited number of them."""

PortionCount = Annotated[int, Field(ge=1, le=MOST_PORTIONS)] | Literal["auto"]


class PortionsConfig(Section):
    """Number of pods that share the work of a stage in a cluster. 1 runs the stage in one pod, without the steps that divide and merge."""

    prepare: PortionCount = 1
    """Pods that read the source: at most this number, or with ``auto`` one per 100,000 rows, up to four. A source that cannot be divided
    (``digit_scenes``, a prepared dataset) is read by one."""
    extract: PortionCount = 1
    """Pods that make cues: at most this number, or with ``auto`` one per 20,000 examples, up to four. With the provider ``endpoint``, each
    sends ``cues.provider.concurrency`` requests at a time."""


class PlanConfig(Section):
    """Settings of a step that divides a stage into portions."""

    count: int = Field(0, ge=0, le=MOST_PORTIONS)
    """Largest number of portions; 0 lets it follow from the number of rows."""


class DataPlanConfig(PlanConfig):
    """Settings of the step that divides a source."""

    data: DataConfig
    """The source."""


class CuePlanConfig(PlanConfig):
    """Settings of the step that divides the examples of a dataset."""

    cues: CuesConfig = CuesConfig()
    """Settings of the cues."""


class RangeConfig(Section):
    """A contiguous range of a stage's work."""

    first: int = Field(0, ge=0)
    """Number of the first item, from 0."""
    end: int = Field(0, ge=0)
    """Number after the last item."""
    last: bool = False
    """Whether no portion follows."""


class DataPortionConfig(RangeConfig):
    """A portion of a source: a range of its units."""

    data: DataConfig
    """The source, without settings that do not change how rows are read."""
    format: str = ""
    """Name of its format; empty for a source that cannot be divided, which the merge reads as a whole."""
    content: str = ""
    """Digest of the names, sizes and versions of the files that the portion is read from."""


class CuePortionConfig(RangeConfig):
    """A portion of a dataset: a range of its examples, counted over the splits that get cues."""

    cues: CuesConfig = CuesConfig()
    """Settings of the cues, without the limits of the audit."""
