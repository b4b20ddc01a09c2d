"""How a pipeline run ended, told to everyone who may ask: the tracking server, the event log, and a line of text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from vicur.config.tracking import TrackingConfig
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.events import Events
from vicur.session import run_id_from_environment
from vicur.step import log_to_own_file
from vicur.tracking import Status, finish_pipeline

log = logging.getLogger(__name__)

LABEL = "outcome"
_STATES: dict[str, Status] = {"SUCCEEDED": "FINISHED", "COMPLETE": "FINISHED", "CANCELLED": "KILLED"}


def record_outcome(state: str, message: str | None, tracking: Mapping[str, Any]) -> str:
    """Closes the run's MLflow run with its true status, tells the event log, and returns the outcome in words.

    A tracking server that does not answer is told in the words and fails nothing: it may be the very reason for the
    outcome.

    Args:
        state: final state of the pipeline's body, as the platform calls it.
        message: what the platform says of a failure.
        tracking: the tracking section of the configuration.
    """
    log_to_own_file(LABEL)
    words = f"The run ended: {state.lower()}." + (f" {message}" if message else "")
    try:
        config = validated(TrackingConfig, dict(tracking), "tracking")
        finish_pipeline(config, run_id_from_environment(), _STATES.get(state, "FAILED"))
    except VicurError as error:
        log.warning("%s", error)
        words += f" It could not be recorded in MLflow: {error}"
    Events.from_environment(LABEL).emit("finished", words, summary={"state": state})
    return words
