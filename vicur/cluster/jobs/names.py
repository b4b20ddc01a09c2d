"""Names and labels of what the launcher makes on a cluster: by them a retry finds its job, and the reaper what a run has left."""

from __future__ import annotations

import hashlib
import re

PART_OF = "app.kubernetes.io/part-of"
"""Label of all that is this product's; its value is ``vicur``."""
RUN = "vicur.dev/run"
"""Label with the id of the pipeline run."""
TASK = "vicur.dev/task"
"""Label with the step's label (``train-vicur``)."""
WORK = "vicur.dev/work"
"""Annotation with the key of the work: a job of the same name that does other work is another's."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's label for the queue."""
PRIORITY = "kueue.x-k8s.io/priority-class"
"""Kueue's label for the priority."""

_LABEL = 63
_TASK = 20
_HASH = 10


def job_name(run_id: str, task: str, work: str) -> str:
    """Name of a step's job: the same in each attempt at the same work, another for any other.

    It leaves room for what JobSet appends to it in the names of pods, which may have 63 characters.
    """
    digest = hashlib.sha256(f"{run_id}\0{task}\0{work}".encode()).hexdigest()[:_HASH]
    slug = re.sub(r"[^a-z0-9]+", "-", task.lower())[:_TASK].strip("-")
    return f"vicur-{slug}-{digest}" if slug else f"vicur-{digest}"


def label_value(text: str) -> str:
    """``text`` as a label's value: letters, digits, dashes, dots and underscores, at most 63.

    What had to be cut ends in a hash of the whole: two that differ are never one.
    """
    value = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    if len(value) <= _LABEL:
        return value
    return f"{value[: _LABEL - _HASH - 1]}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH]}"


def labels(run_id: str, task: str) -> dict[str, str]:
    """Labels of a step's job."""
    return {PART_OF: "vicur", RUN: label_value(run_id), TASK: label_value(task)}
