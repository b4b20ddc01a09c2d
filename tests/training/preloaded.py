"""Preloaded by the fork server that starts trainings for tests: imports and hashes that take seconds in each new process."""

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

from tests.training import train_once  # noqa: F401
from vicur.stage.code_version import code_version

code_version("vicur.training.train")
