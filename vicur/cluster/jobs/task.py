"""What a node is to do, as the step tells it in one variable."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vicur.errors import VicurError

VARIABLE = "VICUR_NODE_TASK"


@dataclass(frozen=True)
class NodeTask:
    """What a node is to do. Holds no secret: those are in the node's environment.

    Attributes:
        label: what the step is called in logs and in MLflow (``train vicur``).
        section: settings of the training.
        seed: root seed.
        tracking: the tracking section.
        identity: what the training is; a node that comes to another refuses.
        checkpoints: address below which trainings keep their checkpoints.
        inputs: where each input is: a path or an address.
    """

    label: str
    section: Mapping[str, Any]
    seed: int
    tracking: Mapping[str, Any]
    identity: Mapping[str, Any]
    checkpoints: str
    inputs: Mapping[str, str]

    def written(self) -> str:
        """The task as a variable's value, in which Kubernetes finds nothing to replace (``$(NAME)``)."""
        return json.dumps(asdict(self), sort_keys=True).replace("$", "\\u0024")

    @classmethod
    def from_environment(cls) -> NodeTask:
        """The task of this process.

        Raises:
            VicurError: where it has none.
        """
        try:
            return cls(**json.loads(os.environ[VARIABLE]))
        except (KeyError, ValueError, TypeError) as error:
            raise VicurError(
                "this process was not told what to do.",
                where=VARIABLE,
                remedy="This command is for the nodes of a training, which the pipeline's step starts (docs/multi-node.md).",
            ) from error
