"""The stages by name: where each is defined and which section of the configuration it takes.

Nothing heavy is imported here. A step or command whose result can be reused never imports its stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vicur.config.ablation import Analysis
from vicur.config.base import BaseModelConfig
from vicur.config.comparison import ComparisonConfig
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.registry import RegistryConfig
from vicur.config.training import TrainConfig
from vicur.stage.runner import StageReference


@dataclass(frozen=True)
class Entry:
    """A stage, the type of its section, and the names of what it writes: its marker, which is always there, first."""

    reference: StageReference
    section: Any
    writes: tuple[str, ...]


CHECKPOINT = (
    "vicur.json",
    "vicur-model.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "metrics.jsonl",
    *(
        f"{name}.json"
        for name in ("config", "configuration", "generation_config", "added_tokens", "special_tokens_map")
    ),
    *(f"{name}.json" for name in ("tokenizer", "tokenizer_config", "vocab", "chat_template")),
    *(f"{name}.json" for name in ("preprocessor_config", "processor_config", "video_preprocessor_config")),
    "merges.txt",
    "chat_template.jinja",
)
"""What a folder with a student or a base holds."""


STAGES = {
    entry.reference.name: entry
    for entry in (
        Entry(
            StageReference("prepare", "vicur.data.prepare", "PREPARE"),
            DataConfig,
            ("manifest.json", "README.md", "skipped.jsonl", "*-[0-9][0-9][0-9][0-9][0-9].parquet"),
        ),
        Entry(
            StageReference("extract", "vicur.cues.extract", "EXTRACT"),
            CuesConfig,
            ("cues.parquet", "audit.json", "samples.html", "skipped.jsonl"),
        ),
        Entry(StageReference("base", "vicur.weights.base_model", "BASE_MODEL"), BaseModelConfig, CHECKPOINT),
        Entry(StageReference("train", "vicur.training.train", "TRAIN"), TrainConfig, CHECKPOINT),
        Entry(
            StageReference("evaluate", "vicur.evaluation.evaluate", "EVALUATE"),
            EvaluationConfig,
            ("metrics.json", "predictions.parquet", "attention.json"),
        ),
        Entry(
            StageReference("compare", "vicur.evaluation.compare", "COMPARE"),
            ComparisonConfig,
            ("comparison.json", "report.html"),
        ),
        Entry(
            StageReference("ablate", "vicur.evaluation.ablation.ablate", "ABLATE"),
            Analysis,
            ("ablation.json", "results.md", "results/*.svg"),
        ),
        Entry(
            StageReference("register", "vicur.registry.register", "REGISTER", reusable=False),
            RegistryConfig,
            ("registration.json",),
        ),
    )
}
