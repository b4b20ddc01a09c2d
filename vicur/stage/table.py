"""The table of stages: each with its module, its configuration section and its outputs, declared once.

Commands, pipeline steps and the pipeline's graph derive from this table. It imports nothing heavy: a step or command that reuses a
result never imports the stage itself.
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
class StageEntry:
    """Declaration of a stage.

    Attributes:
        reference: the stage's name, module and constant.
        section: type of its configuration section.
        outputs: glob patterns of the files that it writes. The first file is always written, and marks the folder as an output.
    """

    reference: StageReference
    section: Any
    outputs: tuple[str, ...]


# Files of a student or base model, as save_pretrained of any supported model and processor writes them.
MODEL_FILES = (
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

STAGES = {
    entry.reference.name: entry
    for entry in (
        StageEntry(
            StageReference("prepare", "vicur.data.prepare", "PREPARE"),
            DataConfig,
            ("manifest.json", "README.md", "skipped.jsonl", "*-[0-9][0-9][0-9][0-9][0-9].parquet"),
        ),
        StageEntry(
            StageReference("extract", "vicur.cues.extract", "EXTRACT"),
            CuesConfig,
            ("cues.parquet", "audit.json", "samples.html", "skipped.jsonl"),
        ),
        StageEntry(StageReference("base", "vicur.weights.base_model", "BASE_MODEL"), BaseModelConfig, MODEL_FILES),
        StageEntry(StageReference("train", "vicur.training.train", "TRAIN"), TrainConfig, MODEL_FILES),
        StageEntry(
            StageReference("evaluate", "vicur.evaluation.evaluate", "EVALUATE"),
            EvaluationConfig,
            ("metrics.json", "predictions.parquet", "attention.json"),
        ),
        StageEntry(
            StageReference("compare", "vicur.evaluation.compare", "COMPARE"),
            ComparisonConfig,
            ("comparison.json", "report.html"),
        ),
        StageEntry(
            StageReference("ablate", "vicur.evaluation.ablation.ablate", "ABLATE"),
            Analysis,
            ("ablation.json", "results.md", "results/*.svg"),
        ),
        StageEntry(
            # Never reused: the result depends on the registry's champion, not only on the inputs.
            StageReference("register", "vicur.registry.register", "REGISTER", reusable=False),
            RegistryConfig,
            ("registration.json",),
        ),
    )
}
