"""Inputs of the comparison stage without any training: real digit scenes, answered by simulated models.

A simulated model misreads each digit with some probability and then reasons correctly, as the tiny student does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vicur.config.evaluation import EvaluationConfig
from vicur.data.scene_text import Scene, candidate_questions
from vicur.data.schema import Example
from vicur.evaluation.attention import AttentionSample, ImageAttention, SinkAttentionRecord, write_attention
from vicur.evaluation.metrics import EvaluationMetrics, ModelFacts, measure, write_metrics
from vicur.evaluation.predictions import Prediction, check_response, write_predictions
from vicur.seeds import numpy_generator

GREEDY = EvaluationConfig().sampling.model_dump(mode="json")


@dataclass(frozen=True)
class Reader:
    """A simulated model.

    Attributes:
        method: ``base`` or a student's method.
        misreads: probability of misreading a digit.
        copies: probability of a correct answer regardless of the digits read.
        leaks: probability that the response mentions a hint.
        privilege: privilege of its teacher.
        recovery: whether it has the cue recovery module.
        facts: further fields of its facts.
    """

    method: str
    misreads: float
    copies: float = 0.0
    leaks: float = 0.0
    privilege: str | None = None
    recovery: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> ModelFacts:
        """The description that an evaluation would record."""
        module = {"interval": 2, "sink": "first", "num_heads": None} if self.recovery else None
        facts = {
            "privilege": self.privilege,
            "cue_recovery": module,
            "parameters": 681_000 if self.recovery else 644_000,
        }
        return ModelFacts(method=self.method, **{**facts, **self.facts})

    def predict(self, example: Example, seed: int = 0) -> Prediction:
        """Answer one question about a digit scene."""
        rng = numpy_generator(seed, self.method, example.id)
        response = _answer_to(example, _misread(example, self.misreads, rng))
        if rng.random() < self.copies:
            response = f"{response.rpartition('Answer:')[0]}Answer: {example.answer}"
        if rng.random() < self.leaks:
            response = f"As the Hint says. {response}"
        return check_response(example, response, tokens=len(response.split()) + 2, finished=True)


BASE = Reader("base", misreads=0.19)
OPSD = Reader("opsd", misreads=0.19, copies=0.03, leaks=0.004, privilege="answer")
VICUR = Reader("vicur", misreads=0.12, privilege="cue", recovery=True)


def _misread(example: Example, chance: float, rng: np.random.Generator) -> Scene:
    truth = example.metadata["scene"]
    digits = tuple(
        tuple(int(rng.integers(10)) if rng.random() < chance else digit for digit in row) for row in truth["digits"]
    )
    colours = tuple(tuple(row) for row in truth["colours"])
    return Scene(digits, colours, tuple(tuple(row) for row in truth["digit_ids"]))


def _answer_to(example: Example, seen: Scene) -> str:
    """Return the reference response to the example's question for the scene as it was read."""
    for template in candidate_questions(seen, example.kind):
        question = template.question()
        if question.question == example.question:
            return question.reference
    return "The two are equal."


def write_evaluation(
    reader: Reader, examples: Sequence[Example], folder: Path, *, attention: int = 4, seed: int = 0
) -> Path:
    """Write the output folder of the evaluate stage for a simulated model."""
    folder.mkdir(parents=True)
    predictions = [reader.predict(example, seed) for example in examples]
    splits = dict.fromkeys(p.split for p in predictions)
    write_predictions(predictions, folder)
    measured = {split: measure([p for p in predictions if p.split == split]) for split in splits}
    write_metrics(EvaluationMetrics(model=reader.model, decoding=GREEDY, splits=measured), folder)
    if reader.recovery:
        shown = [e for e in examples if e.split == "test"][: 3 * attention : 3]
        samples = [_attention_to(example, seed) for example in shown]
        write_attention(SinkAttentionRecord(sink="first", samples=samples), folder)
    return folder


def _attention_to(example: Example, seed: int) -> AttentionSample:
    rng = numpy_generator(seed, "attention", example.id)
    layers = {}
    for layer in (0, 2):
        weights = rng.dirichlet(np.full(6, 0.8))
        layers[layer] = [round(float(w), 5) for w in weights]
    return AttentionSample(example_id=example.id, images=[ImageAttention(rows=2, columns=3, layers=layers)])


def write_student(reader: Reader, folder: Path, *, steps: int = 200, seed: int = 0) -> Path:
    """Write the files of a student's folder that the report reads: training metrics and training record."""
    folder.mkdir(parents=True)
    rng = numpy_generator(seed, "history", reader.method)
    gain = 0.6 * (0.19 - reader.misreads)
    records: list[dict[str, float]] = [{"step": 0, "validation_accuracy": 0.617}]
    for step in range(1, steps + 1):
        learnt = 1 - math.exp(-step / 60)
        noise = rng.normal(0, 1, 12)
        gap = -0.32 * (1 - 0.7 * learnt) * (1 if reader.privilege == "cue" else 0.35)
        record = {
            "step": step,
            "loss": -0.1 * gap + 0.05 * noise[0],
            "gap/whole": gap + 0.03 * noise[1],
            "gap/half_1": 1.5 * gap + 0.05 * noise[2],
            "gap/half_2": 0.5 * gap + 0.03 * noise[3],
            "leakage/samples": 0.0,
            "leakage/occurrences": 0.0,
            "entropy": 0.3 - 0.12 * learnt + 0.015 * noise[4],
            "gradient_norm": 0.8 + 0.2 * abs(noise[7]),
            "tokens_per_second": 1500 + 60 * noise[8],
            "response_tokens": 18.5 + 0.4 * noise[5],
            "rollout_accuracy": min(1.0, max(0.0, 0.5 + 2 * gain * learnt + 0.08 * noise[6])),
        }
        record |= {f"gap/quarter_{n}": gap * (2.0 - 0.4 * n) + 0.05 * noise[6 + n] for n in range(1, 5)}
        if step % 20 == 0:
            record["validation_accuracy"] = 0.617 + 2.2 * gain * learnt + 0.006 * noise[11]
        records.append(record)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    made = {
        "method": reader.method,
        "privilege": reader.privilege,
        "recovery": reader.recovery,
        "parent": "4f" * 32,
        "dataset": "0c" * 32,
        "cues": "9a" * 32,
        "seed": seed,
        "steps": steps,
        "best_step": 180,
        "validation_accuracy": 0.617 + 2.2 * gain,
        "training": {
            "batch_size": 32,
            "learning_rate": 3e-4,
            "objective": {"type": "k1", "clamp": 10.0},
            "trained": {"type": "full", "vision": True},
            "max_grad_norm": 1.0,
        },
    }
    (folder / "vicur.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def comparison_inputs(
    root: Path, dataset: Path, cues: Path, examples: Sequence[Example], students: Sequence[Reader] = (OPSD, VICUR)
) -> dict[str, Path]:
    """Write evaluations and students into ``root`` and return the inputs of the compare stage.

    ``examples`` are the validation, test and ood examples of the dataset.
    """
    inputs = {"dataset": dataset, "cues": cues, "base": write_evaluation(BASE, examples, root / "base")}
    for student in students:
        inputs[student.method] = write_evaluation(student, examples, root / student.method)
        inputs[f"{student.method}.student"] = write_student(student, root / f"{student.method}.student")
    return inputs
