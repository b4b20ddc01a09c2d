"""Cells: the students that a pipeline trains and evaluates side by side."""

from __future__ import annotations

from vicur.config.benchmarks import AnswersConfig, ScoresConfig
from vicur.config.evaluation import EvaluationConfig
from vicur.config.section import Section
from vicur.config.training import TrainConfig


class Cell(Section):
    """One student of a pipeline: a method of a distillation, or an arm of an ablation with one seed."""

    subject: str
    """Name of the evaluation: ``vicur``, or ``vicur.0`` with a seed."""
    student: str
    """Name of the student. It differs from ``subject`` in a cell that evaluates the student of another cell."""
    seed: int
    """Root seed of training and evaluation."""
    training: TrainConfig
    """Settings of the training."""
    evaluation: EvaluationConfig
    """Settings of the evaluation."""
    benchmark_answers: AnswersConfig | None = None
    """Settings of the answers to the benchmarks, if there are any."""
    benchmark_scores: ScoresConfig | None = None
    """Settings of their scores."""
