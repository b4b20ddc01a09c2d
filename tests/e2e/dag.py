"""Executes the whole pipeline through kfp.local, in containers or in processes of this machine:

    python -m tests.e2e.dag CONFIG.yaml OUTPUTS [--image IMAGE]

Both get the same environment: what MLFLOW_ and VICUR_ variables say, and one thread.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# What a step's container may do in a namespace of Kubernetes' restricted profile, and less: it writes to /tmp alone.
RESTRICTED = {
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777,size=2g"},  # noqa: S108 (the container's own)
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--image")
    asked = parser.parse_args()
    if asked.image:
        # Components read it when they are imported.
        os.environ["VICUR_IMAGE"] = asked.image
    from kfp import local
    from vicur_pipelines.graph import graph_of
    from vicur_pipelines.local import code_versions

    from vicur.config.loading import load_config

    config = load_config(asked.config)
    graph = graph_of(config)
    asked.outputs.mkdir()
    # The image's user is nobody whom this machine knows.
    asked.outputs.chmod(0o777)
    local.init(_runner(asked.image), pipeline_root=str(asked.outputs.absolute()), raise_on_error=True)
    graph.build(code_versions(), config, retries=0)(**graph.arguments(config))


def _runner(image: str | None) -> object:
    from kfp import local

    told = {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_", "VICUR_"))}
    if image is None:
        return local.SubprocessRunner(use_venv=False)
    return local.DockerRunner(network_mode="host", environment=told, **RESTRICTED)


if __name__ == "__main__":
    main()
