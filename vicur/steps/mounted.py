"""Secrets and endpoints of a pod: files of volumes, which the step reads into its environment."""

# As environment variables, each would take up 150 bytes in the patch of a pod, of which the status of a workflow has six copies.

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vicur.tracking import injected

MOUNTS = Path("/etc/vicur")
"""Folder of the volumes: one for each secret, and one for the ConfigMap with endpoints."""
_MLFLOW = {theirs: ours for ours, theirs in injected.NAMES.items()}
_SAME = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "VICUR_CUE_API_KEY",
    "VICUR_JUDGE_API_KEY",
    "VICUR_WEBHOOK_URL",
    "HF_TOKEN",
    "HF_ENDPOINT",
)
VARIABLES: Mapping[str, str] = {**{name: name for name in _SAME}, **_MLFLOW}
"""Variable of a step by the key in a secret or ConfigMap. MLflow's are called by our names, as in TrainJobs."""


def use_mounted_settings(folder: Path = MOUNTS) -> None:
    """Set the variables that the volumes of this pod have. Variables that are set already keep their value."""
    for key, variable in VARIABLES.items():
        for file in sorted(folder.glob(f"*/{key}")):
            # Secrets that are made from files end with a line break.
            os.environ.setdefault(variable, file.read_text(encoding="utf-8").strip())
