"""The evaluation stage: one model answers the held-out questions, without any hint, and each answer is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import REPORT_SPLIT, EvaluationConfig
from vicur.data import read_examples, read_manifest
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation.attention import attention_record, write_attention
from vicur.evaluation.metrics import EvaluationMetrics, ModelFacts, SplitMetrics, measure, write_metrics
from vicur.evaluation.predictions import Prediction, check_response, write_predictions
from vicur.evaluation.prompts import prompts_for
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, load_model, parameter_count
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.modeling.student import cue_recovery_off
from vicur.seeds import substream
from vicur.stage.runner import Context, Stage, Summary

# Prompts of so many batches are held at once: enough for prompts of like length to share a batch, little memory.
_BATCHES_HELD = 16


class EvaluateSummary(Summary):
    """How a model did."""

    method: str
    """Training method of the student, or ``base``."""
    examples: dict[str, int]
    """Questions by split."""
    accuracy: dict[str, float]
    """Accuracy by split."""


def evaluate(config: EvaluationConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> EvaluateSummary:
    """Evaluates one model.

    Args:
        config: what to answer, and how.
        inputs: ``dataset`` and ``model`` (a base or a student, with tokenizer and image processor).
        output: folder for ``metrics.json``, ``predictions.parquet`` and, with cue recovery, ``attention.json``.
        context: run, seed, tracker and events.

    Raises:
        VicurError: for a dataset or a model that cannot be read, and a dataset without test questions.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    questions = _questions(config, inputs["dataset"])
    chat = Chat.load(inputs["model"])
    model = load_model(inputs["model"], device=_device(config))
    with nullcontext() if config.cue_recovery else cue_recovery_off(model):
        predictions = _answer(model, chat, questions, config, context)
    metrics = EvaluationMetrics(
        model=_facts(inputs["model"], model, cue_recovery=config.cue_recovery),
        decoding=config.decoding.sampling.model_dump(mode="json"),
        splits={split: measure([p for p in predictions if p.split == split]) for split in questions},
    )
    write_predictions(predictions, output)
    write_metrics(metrics, output)
    if config.cue_recovery:
        record = attention_record(model, chat, questions[REPORT_SPLIT], config.attention_samples, context.seed)
        if record is not None:
            write_attention(record, output)
    context.tracker.params({"method": metrics.model.method, **config.model_dump(mode="json"), "seed": context.seed})
    return _summary(metrics)


def _questions(config: EvaluationConfig, dataset: Path) -> dict[str, list[Example]]:
    """Questions by split, in the order of the configuration; splits that the dataset lacks are left out."""
    held = read_manifest(dataset).examples
    if not held.get(REPORT_SPLIT):
        raise VicurError(
            f"has no examples of split {REPORT_SPLIT!r}, so there is nothing to report.",
            where=str(dataset),
            remedy=f"Give some rows the split {REPORT_SPLIT!r} and prepare the dataset again.",
        )
    return {split: read_examples(dataset, split)[: config.max_examples] for split in config.splits if held.get(split)}


def _device(config: EvaluationConfig) -> str:
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise VicurError(
            "there is no GPU here.",
            where="evaluation.device",
            remedy="Use device: auto, or run on a node with a GPU.",
        )
    return "cuda" if available and config.device != "cpu" else "cpu"


def _answer(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    questions: Mapping[str, Sequence[Example]],
    config: EvaluationConfig,
    context: Context,
) -> list[Prediction]:
    """Predictions of all splits, in the order of the dataset."""
    total = sum(map(len, questions.values()))
    predictions: list[Prediction] = []
    held = config.batch_size * _BATCHES_HELD
    for split, examples in questions.items():
        for start in range(0, len(examples), held):
            part = examples[start : start + held]
            before, shown = len(predictions), split
            responses = generate(
                model,
                chat,
                prompts_for(chat, part),
                config.decoding.sampling,
                seed=substream(context.seed, "evaluation", split, start),
                batch_size=config.batch_size,
                on_progress=lambda done, _, before=before, shown=shown: context.events.progress(  # type: ignore[misc]
                    before + done, total, shown
                ),
            )
            predictions += [
                check_response(example, r.text, tokens=len(r.ids), finished=r.finished)
                for example, r in zip(part, responses, strict=True)
            ]
    return predictions


def _facts(folder: Path, model: Qwen3VLForConditionalGeneration, *, cue_recovery: bool) -> ModelFacts:
    """What is known of a model from its folder; a base has no ``vicur.json``."""
    record: dict[str, Any] = {}
    path = folder / "vicur.json"
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise VicurError(f"is no JSON ({error}).", where=str(path), remedy="Train the student again.") from error
    with_module = cue_recovery and isinstance(model, Qwen3VLStudentForConditionalGeneration)
    return ModelFacts(
        method=str(record.get("method", "base")),
        privilege=record.get("privilege"),
        training=record.get("training", {}),
        cue_recovery=model.config.recovery_settings.model_dump() if with_module else None,
        parameters=parameter_count(model).total,
    )


def _summary(metrics: EvaluationMetrics) -> EvaluateSummary:
    figures = {f"{split}/{name}": value for split, m in metrics.splits.items() for name, value in _figures(m).items()}
    return EvaluateSummary(
        key_figure=", ".join(f"{split} {100 * m.accuracy:.1f} %" for split, m in metrics.splits.items()),
        metrics=figures,
        method=metrics.model.method,
        examples={split: m.examples for split, m in metrics.splits.items()},
        accuracy={split: m.accuracy for split, m in metrics.splits.items()},
    )


def _figures(metrics: SplitMetrics) -> dict[str, float]:
    figures = {
        "accuracy": metrics.accuracy,
        "hint_leakage_samples": float(metrics.hint_leakage.samples),
        "hint_leakage_occurrences": float(metrics.hint_leakage.occurrences),
        "mean_tokens": metrics.mean_tokens,
        "unfinished_share": metrics.unfinished_share,
        **{f"accuracy_{kind}": found.accuracy for kind, found in metrics.by_kind.items()},
    }
    if metrics.evidence is not None:
        figures |= {"evidence_right": metrics.evidence.right, "answer_without_evidence": metrics.evidence.answer_only}
    return figures


EVALUATE = Stage("evaluate", evaluate, EvaluateSummary)
