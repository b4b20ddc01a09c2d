"""Names under which packages and jobs pass MLflow's settings to pods, and their mapping onto MLflow's own names.

The MLflow plugin of Kubeflow Pipelines adds MLflow's own names to every pod as plain values. A package that set one of them from a
ConfigMap or a secret would make each pod invalid, so packages and jobs use names of ours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

URI = "VICUR_MLFLOW_URI"
USERNAME = "VICUR_MLFLOW_USERNAME"
PASSWORD = "VICUR_MLFLOW_PASSWORD"  # noqa: S105 (the name of a variable)
_OF_THE_RUN = {
    URI: "MLFLOW_TRACKING_URI",
    "VICUR_MLFLOW_RUN_ID": "MLFLOW_RUN_ID",
    "VICUR_MLFLOW_EXPERIMENT_ID": "MLFLOW_EXPERIMENT_ID",
    "VICUR_MLFLOW_WORKSPACE": "MLFLOW_WORKSPACE",
}
NAMES: Mapping[str, str] = {
    **_OF_THE_RUN,
    USERNAME: "MLFLOW_TRACKING_USERNAME",
    PASSWORD: "MLFLOW_TRACKING_PASSWORD",
}
"""MLflow's name by ours."""
PLUGIN = (*NAMES.values(), "KFP_MLFLOW_CONFIG")
"""Names that the plugin sets, and that therefore no package may set."""


def use_injected_mlflow() -> None:
    """Set MLflow's variables from ours. Call this first in a process of a pod, before anything reads MLflow's address."""
    # A run that the platform started for this process exists only at the platform's address, and for the platform's user.
    joined = bool(os.environ.get("MLFLOW_RUN_ID"))
    for ours, theirs in NAMES.items():
        # Secrets that are made from files end with a line break.
        value = os.environ.get(ours, "").strip()
        if value and not (joined and os.environ.get(theirs)):
            os.environ[theirs] = value


def for_other_pods(environment: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's address and run in ``environment`` under our names, for the pods of a job. Credentials come from its secret."""
    return {ours: environment[theirs] for ours, theirs in _OF_THE_RUN.items() if environment.get(theirs)}
