"""Run the whole pipeline with kfp.local, in containers or in processes of this machine:

    python -m tests.e2e.dag CONFIG.yaml OUTPUTS [--image IMAGE]

Both get the same MLFLOW_ and VICUR_ environment variables.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Stricter than Kubernetes' restricted profile: only /tmp is writable.
RESTRICTED = {
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777,size=2g"},  # noqa: S108 (in the container)
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--image")
    options = parser.parse_args()
    if options.image:
        # Components read this variable when they are imported.
        os.environ["VICUR_IMAGE"] = options.image
    from kfp import local
    from vicur_pipelines.local import arguments, build

    from vicur.config.loading import load_config

    config = load_config(options.config)
    options.outputs.mkdir()
    # Writable for the user of the image, who does not exist on this machine.
    options.outputs.chmod(0o777)
    local.init(_runner(options.image), pipeline_root=str(options.outputs.absolute()), raise_on_error=True)
    build(config, retries=0)(**arguments(config))


def _runner(image: str | None) -> object:
    from kfp import local

    variables = {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_", "VICUR_"))}
    if image is None:
        return local.SubprocessRunner(use_venv=False)
    return local.DockerRunner(network_mode="host", environment=variables, **RESTRICTED)


if __name__ == "__main__":
    main()
