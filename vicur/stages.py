"""The stages by name: where each is defined and which section of the configuration it takes.

Nothing heavy is imported here. A step or command whose result can be reused never imports its stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.config.base_model import BaseModelConfig
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig
from vicur.config.evaluation import CompareConfig, EvaluationConfig
from vicur.config.registry import RegistryConfig
from vicur.config.training import TrainConfig
from vicur.data.prepare import source_inputs
from vicur.stage import StageReference


@dataclass(frozen=True)
class Entry:
    """A stage and the type of its section."""

    reference: StageReference
    section: Any


STAGES = {
    entry.reference.name: entry
    for entry in (
        Entry(StageReference("prepare", "vicur.data.prepare", "PREPARE"), DataConfig),
        Entry(StageReference("extract", "vicur.cues.extract", "EXTRACT"), CuesConfig),
        Entry(StageReference("base", "vicur.base_model", "BASE_MODEL"), BaseModelConfig),
        Entry(StageReference("train", "vicur.training.distill", "TRAIN"), TrainConfig),
        Entry(StageReference("evaluate", "vicur.evaluation.evaluate", "EVALUATE"), EvaluationConfig),
        Entry(StageReference("compare", "vicur.evaluation.compare", "COMPARE"), CompareConfig),
        Entry(StageReference("register", "vicur.registry.register", "REGISTER", reusable=False), RegistryConfig),
    )
}


def sources(section: Any) -> dict[str, Path]:
    """Files and folders outside the pipeline that a section names: inputs like any other, which count by their bytes.

    Raises:
        VicurError: where a section names what is not there.
    """
    if isinstance(section, BaseModelConfig):
        return {"source": section.folder}
    if isinstance(section, DigitScenesConfig | FolderConfig):
        return source_inputs(section)
    if isinstance(section, TrainConfig) and section.effective.teacher.type == "checkpoint":
        return {"teacher": section.effective.teacher.folder}
    return {}
