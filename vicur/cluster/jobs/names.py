"""Names and labels of the launcher's jobs. A retry finds its job by name; ``vicur cluster reap`` finds a run's jobs by label."""

from __future__ import annotations

import hashlib
import re

PART_OF = "app.kubernetes.io/part-of"
"""Label of everything that belongs to this project, with the value ``vicur``."""
RUN = "vicur.dev/run"
"""Label with the id of the pipeline run."""
TASK = "vicur.dev/task"
"""Label with the step's label (``train-vicur``)."""
WORK = "vicur.dev/work"
"""Annotation with the key of the work. A job with the same name but another key is not ours."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's label with the queue."""
PRIORITY = "kueue.x-k8s.io/priority-class"
"""Kueue's label with the priority class."""

# Longest value of a label.
_LABEL = 63
_TASK = 20
# Hex digits, enough to tell the jobs of a namespace apart.
_HASH = 10


def job_name(run_id: str, task: str, work: str) -> str:
    """Return the name of a step's job. It is the same for each attempt at the same work, and different for other work."""
    # Short enough for the suffix that JobSet appends to it: names of pods have at most 63 characters.
    digest = hashlib.sha256(f"{run_id}\0{task}\0{work}".encode()).hexdigest()[:_HASH]
    slug = re.sub(r"[^a-z0-9]+", "-", task.lower())[:_TASK].strip("-")
    return f"vicur-{slug}-{digest}" if slug else f"vicur-{digest}"


def label_value(text: str) -> str:
    """Convert ``text`` to a valid label value: at most 63 letters, digits, dashes, dots and underscores."""
    value = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    if len(value) <= _LABEL:
        return value
    # A cut value ends with a hash of the whole text, so that different texts keep different labels.
    return f"{value[: _LABEL - _HASH - 1]}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH]}"


def labels(run_id: str, task: str) -> dict[str, str]:
    """Return the labels of a step's job."""
    return {PART_OF: "vicur", RUN: label_value(run_id), TASK: label_value(task)}
