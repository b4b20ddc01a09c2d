"""The evaluation stage: one model answers the held-out questions, without any hint, and each answer is checked."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import REPORT_SPLIT, EvaluationConfig
from vicur.data import read_manifest
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation.asking import ask
from vicur.evaluation.attention import attention_record, write_attention
from vicur.evaluation.blind import blind_metrics, write_blind
from vicur.evaluation.latency import measure_latency
from vicur.evaluation.metrics import EvaluationMetrics, ModelFacts, figures, measure, write_metrics
from vicur.evaluation.predictions import write_predictions
from vicur.evaluation.questions import read_questions
from vicur.evaluation.repeats import repeat_metrics, write_repeats
from vicur.evaluation.rounds import REPEATED, rounds_of
from vicur.evaluation.shares import answer_in_processes, process_count
from vicur.evaluation.training_record import copy_training_record
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, load_model, parameter_count
from vicur.modeling.chat import Chat
from vicur.modeling.device import resolve_device
from vicur.modeling.prompt_lengths import require_few_too_long, too_long
from vicur.modeling.readability import check_readable, context_length
from vicur.modeling.student import cue_recovery_off
from vicur.stage.runner import Context, Stage, Summary
from vicur.wording import percent

log = logging.getLogger(__name__)


class EvaluateSummary(Summary):
    """Training method of one model (or ``base``), and its questions and accuracy by split."""

    method: str
    examples: dict[str, int]
    accuracy: dict[str, float]


def evaluate(config: EvaluationConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> EvaluateSummary:
    """Evaluate one model.

    Args:
        inputs: ``dataset``, ``model`` (a base or a student, with tokenizer and image processor), and the inputs of the
            evaluation sets.
        output: folder for ``metrics.json``, ``predictions.parquet``, with cue recovery ``attention.json``, of a student the record of its
            training, and ``blind.parquet`` and ``repeats.parquet`` if blind accuracy and repeated samples are measured.

    Raises:
        VicurError: if the dataset, an evaluation set or the model cannot be read, or test questions are missing.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    questions = read_questions(config, inputs)
    chat = Chat.load(inputs["model"], config.prompts)
    available = read_manifest(inputs["dataset"]).examples
    check_readable(chat, inputs["dataset"], [split for split in config.splits if available.get(split)], inputs["model"])
    limit = min(config.max_prompt_tokens, context_length(inputs["model"]))
    _require_answerable(chat, questions, config, limit, inputs["dataset"])
    if (processes := process_count(config)) > 1:
        answer_in_processes(config, inputs, limit, context, processes)
    model = load_model(inputs["model"], device=resolve_device(config.device, "evaluation.device"))
    rounds = list(rounds_of(questions, config, context.seed))
    latency = None
    with nullcontext() if config.cue_recovery else cue_recovery_off(model):
        by_round = ask(model, chat, rounds, config, limit, context.seed, context.work, context.events.progress)
        answered = list(zip(rounds, by_round, strict=True))
        if config.latency_examples:
            latency = measure_latency(model, chat, questions[REPORT_SPLIT], config, limit, context.seed)
    sighted = {each.split: predictions for each, predictions in answered if not each.variant}
    blind = [(each, predictions) for each, predictions in answered if each.view is not None]
    repeated = {each: predictions for each, predictions in answered if each.variant == REPEATED}
    repeats = {each.split: repeat_metrics(each, samples, context.seed) for each, samples in repeated.items()}
    metrics = EvaluationMetrics(
        model=_facts(inputs["model"], model, cue_recovery=config.cue_recovery),
        decoding=config.sampling.model_dump(mode="json"),
        prompts=config.prompts,
        splits={
            split: measure(predictions).model_copy(
                update={
                    "blind": blind_metrics(split, predictions, blind, context.seed),
                    "repeats": repeats.get(split),
                }
            )
            for split, predictions in sighted.items()
        },
        latency=latency,
    )
    predictions = [prediction for split in sighted.values() for prediction in split]
    write_predictions(predictions, output)
    if blind:
        write_blind(blind, output)
    if repeated:
        write_repeats(repeated, output)
    write_metrics(metrics, output)
    copy_training_record(inputs["model"], output)
    if config.cue_recovery:
        asked = {p.example_id for p in sighted[REPORT_SPLIT] if p.unanswered is None}
        record = attention_record(
            model, chat, questions[REPORT_SPLIT], config.attention_samples, context.seed, only=asked
        )
        if record is not None:
            write_attention(record, output)
    context.tracker.params({"method": metrics.model.method, **config.model_dump(mode="json"), "seed": context.seed})
    _warn_of_cut_off_responses(metrics, context)
    _warn_of_unanswered_questions(metrics, limit, context)
    return _summary(metrics)


def _require_answerable(
    chat: Chat, questions: Mapping[str, Sequence[Example]], config: EvaluationConfig, limit: int, dataset: Path
) -> None:
    """Check the lengths of all prompts before any is answered."""
    for split, examples in questions.items():
        require_few_too_long(
            too_long(chat, examples, "evaluation", limit),
            len(examples),
            limit,
            config.max_unanswered_share,
            where=f"{dataset}, split {split}",
            settings="evaluation.max_prompt_tokens (up to the model's context) or evaluation.max_unanswered_share",
        )


def _warn_of_unanswered_questions(metrics: EvaluationMetrics, limit: int, context: Context) -> None:
    unanswered = {split: m.unanswered for split, m in metrics.splits.items() if m.unanswered}
    if not unanswered:
        return
    counts = ", ".join(
        f"{split} {count:,} of {metrics.splits[split].examples:,}" for split, count in unanswered.items()
    )
    warning = f"Unanswered: prompt too long ({counts}). Prompts of more than {limit:,} tokens were not asked and count as incorrect."
    log.warning("%s Lower data.pixels.max or raise evaluation.max_prompt_tokens.", warning)
    context.tracker.tags({"vicur.warning.unanswered": warning})


def _warn_of_cut_off_responses(metrics: EvaluationMetrics, context: Context) -> None:
    cut_off = {split: m.unfinished_share for split, m in metrics.splits.items() if m.many_cut_off}
    if not cut_off:
        return
    limit = metrics.decoding["max_new_tokens"]
    shares = ", ".join(f"{split} {percent(share)}" for split, share in cut_off.items())
    warning = f"Responses were cut off at {limit} tokens before they ended ({shares}); they usually count as incorrect."
    log.warning("%s Raise evaluation.decoding.max_new_tokens.", warning)
    context.tracker.tags({"vicur.warning.cut_off": warning})


def _facts(folder: Path, model: Qwen3VLForConditionalGeneration, *, cue_recovery: bool) -> ModelFacts:
    record: dict[str, Any] = {}
    path = folder / "vicur.json"
    # Only students have a record; a base is described by its checkpoint alone.
    if path.exists():
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise VicurError(
                f"is not valid JSON ({error}).", where=str(path), remedy="Train the student again."
            ) from error
    # A student that is evaluated with its module off counts as a model without one.
    with_module = cue_recovery and isinstance(model, Qwen3VLStudentForConditionalGeneration)
    return ModelFacts(
        method=str(record.get("method", "base")),
        privilege=record.get("privilege"),
        training=record.get("training", {}),
        cue_recovery=model.config.recovery_settings.model_dump() if with_module else None,
        parameters=parameter_count(model).total,
    )


def _summary(metrics: EvaluationMetrics) -> EvaluateSummary:
    return EvaluateSummary(
        key_figure=", ".join(f"{split} {percent(m.accuracy)}" for split, m in metrics.splits.items()),
        metrics=figures(metrics),
        method=metrics.model.method,
        examples={split: m.examples for split, m in metrics.splits.items()},
        accuracy={split: m.accuracy for split, m in metrics.splits.items()},
    )


EVALUATE = Stage("evaluate", evaluate, EvaluateSummary)
