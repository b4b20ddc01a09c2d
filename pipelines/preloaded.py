"""Importing this module imports what the steps of a local run need. The server of :mod:`vicur_pipelines.forked` does so once."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from vicur_pipelines.forked import RUNTIME

from vicur.stage.runner import AnyStage
from vicur.stage.table import STAGES

# Some libraries are imported where they are used. The stores are those of MLflow's embedded SQLite file.
_LIBRARIES = (
    "kfp.dsl.executor_main",
    "mlflow.pyfunc",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "vicur.steps.stage_step",
)


def preload() -> None:
    """Import all stages and their libraries, and compute the versions of the stages' code, which each step needs."""
    loads: list[Callable[[], object]] = [partial(importlib.import_module, module) for module in _LIBRARIES]
    loads += [partial(_load, entry.reference) for entry in STAGES.values()]
    for load in loads:
        try:
            load()
        except Exception as error:  # noqa: BLE001 - the step that needs it reports it
            logging.getLogger(__name__).warning("not preloaded: %s", error)
    # Otherwise the first collection in each fork would copy the memory of all objects.
    gc.freeze()


def _load(stage: AnyStage[Any]) -> object:
    stage.load()
    return stage.code  # cached


# Ctrl-C ends the server without a traceback while it imports. Later it ignores the signal, and its forks handle it (see forked.py).
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
os.environ[RUNTIME] = "true"
preload()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
signal.signal(signal.SIGINT, signal.default_int_handler)
