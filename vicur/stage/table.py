"""The table of stages: each with its module, its configuration section and its outputs, declared once.

Commands, pipeline steps and the pipeline's graph derive from this table. It imports nothing heavy: a step or command that reuses a
result never imports the stage itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

from vicur.config.ablation import AblationConfig, Analysis
from vicur.config.base import BaseModelConfig
from vicur.config.benchmarks import AnswersConfig, ScoresConfig
from vicur.config.cells import Cell
from vicur.config.comparison import ComparisonConfig
from vicur.config.cues import CuesConfig
from vicur.config.data import DataConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.portions import CuePlanConfig, CuePortionConfig, DataPlanConfig, DataPortionConfig
from vicur.config.registry import RegistryConfig
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.training import TrainConfig
from vicur.stage.portions import PORTIONS, RECORD
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
            ("manifest.json", "README.md", "skipped.jsonl", "findings.json", "*-[0-9][0-9][0-9][0-9][0-9].parquet"),
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
            (
                *("metrics.json", "predictions.parquet", "blind.parquet", "repeats.parquet", "attention.json"),
                *("training/vicur.json", "training/metrics.jsonl"),
            ),
        ),
        StageEntry(
            StageReference("benchmark-answer", "vicur.evaluation.benchmarks.answer_stage", "ANSWER"),
            AnswersConfig,
            (
                "benchmarks.json",
                "*/answers.json",
                "*/answers.parquet",
                "*/questions/manifest.json",
                "*/questions/questions.jsonl",
            ),
        ),
        StageEntry(
            StageReference("benchmark-score", "vicur.evaluation.benchmarks.score_stage", "SCORE"),
            ScoresConfig,
            ("benchmarks.json", "*/scores.json", "*/scores.parquet"),
        ),
        StageEntry(
            StageReference("compare", "vicur.evaluation.compare", "COMPARE"),
            ComparisonConfig,
            ("comparison.json", "report.html", "chosen/*", "chosen/training/*", "base/*"),
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


@dataclass(frozen=True)
class DividedStage:
    """Declaration of the stages that divide a stage into portions, and work on one of them (:mod:`vicur.stage.portions`).

    They have the name of the stage, whose scratch space and durable caches they share.
    """

    plan: StageEntry
    portion: StageEntry
    section: str  # the stage's own section, as their sections call it


DIVIDED = {
    "prepare": DividedStage(
        StageEntry(
            StageReference("prepare", "vicur.data.portions.plan", "PLAN", reusable=False), DataPlanConfig, (PORTIONS,)
        ),
        StageEntry(
            StageReference("prepare", "vicur.data.portions.read", "READ"), DataPortionConfig, (RECORD, "unit-*/*")
        ),
        section="data",
    ),
    "extract": DividedStage(
        StageEntry(
            StageReference("extract", "vicur.cues.portions", "PLAN", reusable=False), CuePlanConfig, (PORTIONS,)
        ),
        StageEntry(
            StageReference("extract", "vicur.cues.portions", "EXTRACT_PORTION"),
            CuePortionConfig,
            (RECORD, "rows.jsonl"),
        ),
        section="cues",
    ),
}
"""The stages that can be divided into portions."""

PipelineConfig = RunConfig | AblationConfig
"""The configuration of a pipeline: of a distillation or of an ablation."""


@dataclass(frozen=True)
class Needs:
    """Resources and secrets of a pipeline step in a cluster, beyond those of every step."""

    # "training": as many as the run was given per node; "processes": one for each process that answers benchmarks.
    gpus: Literal["none", "one", "processes", "training"] = "none"
    models: bool = False  # the volumes with models and datasets
    hub: bool = False  # the token and mirror of the Hugging Face Hub
    cue_key: bool = False  # the API key of the cue model
    judge_key: bool = False  # the API key of the benchmarks' judge
    harness: bool = False  # the image with the benchmarks' harness
    webhook: bool = False  # the address of the webhook
    tracking: bool = True  # MLflow: its address and credentials
    cached: bool = True  # whether the platform may reuse the result of an earlier run


@dataclass(frozen=True)
class PipelineStep:
    """Declaration of a pipeline step.

    Its label, its place among the expected steps, its parameter, its cache key and its resources derive from here.
    """

    name: str  # unique, while two steps may run the same stage (evaluate and evaluate_base)
    stage: str
    section: str  # attribute of the configuration; a pipeline has the steps whose section its configuration has, and is not None
    after: tuple[str, ...] = ()  # the steps whose artifacts it reads
    subject: str = ""  # the model that the stage works on, if it is the same in every run
    # For a step that runs once per cell: the attribute of the cell that names it.
    cell_name: Literal["subject", "student"] | None = None
    checkpoints: bool = False  # whether it writes checkpoints that outlive its machine
    cluster: bool = False  # whether it reads the section cluster
    needs: Needs = Needs()

    @property
    def parameter(self) -> str:
        """Name of the step's parameter in the pipelines' graphs."""
        return f"{self.name}_step"

    def label(self, cell: Cell | None = None) -> str:
        """Return the step's label in logs, events and MLflow, such as ``train vicur``."""
        return step_label(self.stage, getattr(cell, self.cell_name) if self.cell_name else self.subject)


# In the order in which a person reads them: shared steps, then those of each cell, then the ending.
STEPS = (
    PipelineStep("prepare", "prepare", "data", needs=Needs(models=True, hub=True)),
    PipelineStep("extract", "extract", "cues", after=("prepare",), checkpoints=True, needs=Needs(cue_key=True)),
    PipelineStep("base", "base", "base", needs=Needs(models=True, hub=True)),
    PipelineStep(
        "evaluate_base",
        "evaluate",
        "evaluation",
        after=("prepare", "base"),
        subject="base",
        needs=Needs(gpus="one"),
    ),
    PipelineStep(
        "benchmark_answer_base",
        "benchmark-answer",
        "benchmark_answers",
        after=("base",),
        subject="base",
        checkpoints=True,
        needs=Needs(gpus="processes", models=True),
    ),
    PipelineStep(
        "benchmark_score_base",
        "benchmark-score",
        "benchmark_scores",
        after=("benchmark_answer_base",),
        subject="base",
        needs=Needs(harness=True, judge_key=True),
    ),
    PipelineStep(
        "train",
        "train",
        "training",
        after=("prepare", "extract", "base"),
        cell_name="student",
        checkpoints=True,
        cluster=True,
        needs=Needs(gpus="training", models=True),
    ),
    PipelineStep(
        "evaluate",
        "evaluate",
        "evaluation",
        after=("prepare", "train"),
        cell_name="subject",
        needs=Needs(gpus="one"),
    ),
    PipelineStep(
        "benchmark_answer",
        "benchmark-answer",
        "benchmark_answers",
        after=("train",),
        cell_name="subject",
        checkpoints=True,
        needs=Needs(gpus="processes", models=True),
    ),
    PipelineStep(
        "benchmark_score",
        "benchmark-score",
        "benchmark_scores",
        after=("benchmark_answer",),
        cell_name="subject",
        needs=Needs(harness=True, judge_key=True),
    ),
    PipelineStep(
        "compare",
        "compare",
        "comparison",
        after=("prepare", "extract", "evaluate_base", "evaluate", "benchmark_score_base", "benchmark_score"),
    ),
    # Never cached: its result depends on the registry, too.
    PipelineStep(
        "register",
        "register",
        "registry",
        after=("prepare", "extract", "train", "compare"),
        needs=Needs(cached=False),
    ),
    PipelineStep("ablate", "ablate", "analysis", after=("evaluate_base", "evaluate")),
)

BENCHMARK_STAGES = ("benchmark-answer", "benchmark-score")
"""Stages of the paper's benchmarks. Only packages that were compiled with benchmarks have their steps."""

BENCHMARKS = ".benchmarks"
"""Suffix of the inputs of ``compare`` with the benchmarks' scores of a model."""

LAST_STEPS = frozenset(step.stage for step in STEPS if all(step.name not in each.after for each in STEPS))
"""Stages whose success is the run's: no other step reads their results."""


def stages_of(config: Section) -> list[str]:
    """Return the stages of the pipeline that ``config`` configures, each once."""
    return list(dict.fromkeys(step.stage for step in steps_of(config)))


def step_label(stage: str, subject: str = "") -> str:
    """Return the label of a step in logs, events and MLflow, such as ``train vicur``."""
    return f"{stage} {subject}".strip()


def steps_of(config: Section) -> list[PipelineStep]:
    """Return the steps of the pipeline that ``config`` configures."""
    return [step for step in STEPS if getattr(config, step.section, None) is not None]


def step_labels(config: PipelineConfig) -> list[str]:
    """Return the labels of all steps of a run, in reading order. A student that several cells share is trained once."""
    steps = steps_of(config)
    first = [step.label() for step in takewhile(lambda step: step.cell_name is None, steps)]
    rest = steps[len(first) :]
    cells = [step.label(cell) for cell in config.cells() for step in rest if step.cell_name]
    return [*first, *dict.fromkeys(cells), *(step.label() for step in rest if not step.cell_name)]
