"""What a node of a training does: fetch the inputs, train with the others, and, the first, hand the student back."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vicur.cluster.jobs.exchange import fetch_inputs, send_student
from vicur.cluster.jobs.report import WRONG_INPUT
from vicur.cluster.jobs.task import NodeTask
from vicur.config.tracking import TrackingConfig
from vicur.config.training import TrainConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.processes.machines import Machines
from vicur.processes.signals import EXIT_CODE, StopOnSigterm
from vicur.stage.events import Events
from vicur.stage.runner import execute, stage_identity, stage_key
from vicur.stage.session import session_from_environment
from vicur.stage.table import STAGES
from vicur.tracking.records import flattened

log = logging.getLogger(__name__)

_SHOWN = 5


def run_node(task: NodeTask) -> None:
    """Takes part in a training, as one of several machines (``PET_NNODES`` and the like say which).

    Raises:
        VicurError: where it is another training here than in the step, or it cannot be trained; with exit status 75 where it was asked to
            stop, or a server did not answer.
    """
    try:
        _take_part(task)
    except VicurError as error:
        # The step learns of its nodes' ends by their statuses alone: that of wrong input is not for what may pass.
        if error.retryable and error.exit_code == WRONG_INPUT:
            error.exit_code = EXIT_CODE
        raise


def _take_part(task: NodeTask) -> None:
    machines = Machines.from_environment()
    section = validated(TrainConfig, dict(task.section), "training")
    tracking = validated(TrackingConfig, dict(task.tracking), "tracking")
    parent = os.environ.get("VICUR_SCRATCH")
    with tempfile.TemporaryDirectory(prefix="vicur-node-", dir=parent) as scratch:
        folder = Path(scratch)
        with StopOnSigterm():
            inputs = fetch_inputs(task.inputs, folder / "inputs")
            found = stage_identity(STAGES["train"].reference, section, inputs, task.seed)
        _require_same(task.identity, found)
        if machines.rank > 0:
            # Imports torch.
            from vicur.training.train import assist_training

            assist_training(section, inputs, task.seed)
            return
        session = session_from_environment(task.seed, tracking, task.checkpoints)
        student = folder / "student"
        events = Events.from_environment(task.label)
        summary = execute(STAGES["train"].reference, section, inputs, student, session, events=events)
        with StopOnSigterm():
            send_student(f"{task.checkpoints}/{stage_key(found)}", student, summary.model_dump(mode="json"))


def _require_same(told: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """The step and its nodes must mean the same training: its result is taken for that.

    Raises:
        VicurError: saying what differs.
    """
    there, here = dict(flattened(told)), dict(flattened(found))
    changed = [name for name in sorted(there.keys() | here.keys()) if there.get(name) != here.get(name)]
    if not changed:
        return
    shown = "; ".join(
        f"{name}: {there.get(name, 'absent')} there, {here.get(name, 'absent')} here" for name in changed[:_SHOWN]
    )
    raise VicurError(
        f"the step that started this node means another training ({shown}).",
        where="training",
        remedy="Use one image for step and nodes (cluster.image), and mount the same volumes in both (cluster.jobs.shared_folders).",
    )
