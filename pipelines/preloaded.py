"""Importing this module imports what the steps of a local run need. The server of :mod:`vicur_pipelines.forked` does so once."""

from __future__ import annotations

import gc
import importlib
import logging

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
    for module in (*_LIBRARIES, *(entry.reference.module for entry in STAGES.values())):
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - the step that needs it reports it
            logging.getLogger(__name__).warning("%s is not preloaded: %s", module, error)
    for entry in STAGES.values():
        entry.reference.code  # noqa: B018 - cached
    # Otherwise the first collection in each fork would copy the memory of all objects.
    gc.freeze()


preload()
