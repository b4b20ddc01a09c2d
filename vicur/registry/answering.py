"""How a version answers: its prompts and its decoding, which are packed with it and are part of its identity.

The same weights with another system message, pixel budget, template of choices or decoding give other responses and another accuracy.
They are therefore another version.
"""

from __future__ import annotations

import hashlib
import json

from vicur.evaluation.metrics import EvaluationMetrics


def answering_hash(metrics: EvaluationMetrics) -> str:
    """Return the hash that identifies the prompts and the decoding of an evaluation."""
    settings = {"prompts": metrics.prompts.model_dump(mode="json"), "decoding": metrics.decoding}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
