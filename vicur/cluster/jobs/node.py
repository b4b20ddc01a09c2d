"""Work of a training node: download the inputs, train together with the other nodes and, on node 0, upload the student."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.cluster.jobs.failures import WRONG_INPUT
from vicur.cluster.jobs.progress import NodeEvents
from vicur.cluster.jobs.task import NodeTask
from vicur.cluster.jobs.transfer import download_inputs, upload_student
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.machines import Machines
from vicur.processes.signals import EXIT_CODE, StopOnSigterm
from vicur.stage.runner import execute, stage_identity, stage_key
from vicur.stage.session import session_from_environment
from vicur.stage.table import STAGES
from vicur.tracking.injected import use_injected_mlflow
from vicur.tracking.records import flattened
from vicur.wording import differences, listed


def run_node(task: NodeTask) -> None:
    """Train as one of several machines; ``PET_NNODES`` and ``PET_NODE_RANK`` say which.

    Raises:
        VicurError: if the node's training differs from the step's or cannot run; with exit status 75 if the node was stopped or a
            server did not respond.
    """
    use_injected_mlflow()
    try:
        _train(task)
    except VicurError as error:
        # The step sees only the exit statuses of its nodes. A temporary failure must not look like invalid input there.
        if error.retryable and error.exit_code == WRONG_INPUT:
            error.exit_code = EXIT_CODE
        raise


def _train(task: NodeTask) -> None:
    machines = Machines.from_environment()
    section = validated(TrainConfig, dict(task.section), "training")
    tracking = validated(TrackingConfig, dict(task.tracking), "tracking")
    parent = os.environ.get("VICUR_SCRATCH")
    with tempfile.TemporaryDirectory(prefix="vicur-node-", dir=parent) as scratch:
        folder = Path(scratch)
        with StopOnSigterm():
            inputs = download_inputs(task.inputs, folder / "inputs")
            identity = stage_identity(STAGES["train"].reference, section, inputs, task.seed)
        _require_same(task.identity, identity)
        if machines.rank > 0:
            # Imports torch.
            from vicur.training.train import assist_training

            assist_training(section, inputs, task.seed)
            return
        session = session_from_environment(task.seed, tracking, task.checkpoints)
        student = folder / "student"
        with NodeEvents.from_environment(task.label) as events:
            summary = execute(STAGES["train"].reference, section, inputs, student, session, events=events)
        with StopOnSigterm():
            upload_student(f"{task.checkpoints}/{stage_key(identity)}", student, summary.model_dump(mode="json"))


def _require_same(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> None:
    # The step stores the student under its own identity, so a node that trains something else would corrupt the cache.
    changed = differences(
        dict(flattened(expected)), dict(flattened(actual)), "{key}: {first} in the step, {second} on the node"
    )
    if changed:
        raise VicurError(
            f"this node would train something else than the step that started it ({listed(changed, separator='; ')}).",
            where="training",
            remedy="Use one image for step and nodes (cluster.image), and mount the same volumes in both (cluster.jobs.shared_folders).",
        )
