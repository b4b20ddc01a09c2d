"""The task of a training node, which the step passes in one environment variable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vicur.errors import VicurError
from vicur.processes.machines import NODE_TASK

VARIABLE = NODE_TASK


@dataclass(frozen=True)
class NodeTask:
    """Task of a training node. Contains no secrets; nodes get those from Kubernetes secrets in their environment.

    Attributes:
        label: label of the step in logs and in MLflow (``train vicur``).
        identity: identity of the training in the step. A node that computes another one refuses to train.
        checkpoints: S3 address below which trainings store their checkpoints.
        inputs: path or S3 address of each input.
    """

    label: str
    section: Mapping[str, Any]
    seed: int
    tracking: Mapping[str, Any]
    identity: Mapping[str, Any]
    checkpoints: str
    inputs: Mapping[str, str]

    def to_variable(self) -> str:
        """Serialise the task for an environment variable."""
        # Kubernetes would expand $(NAME) in the values of variables.
        return json.dumps(asdict(self), sort_keys=True).replace("$", "\\u0024")

    @classmethod
    def from_environment(cls) -> NodeTask:
        """Read the task of this process."""
        try:
            return cls(**json.loads(os.environ[VARIABLE]))
        except (KeyError, ValueError, TypeError) as error:
            raise VicurError(
                "the variable with the node's task is missing or invalid.",
                where=VARIABLE,
                remedy="Do not run this command by hand: the pipeline's training step runs it on each node (docs/multi-node.md).",
            ) from error
