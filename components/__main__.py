"""Run a component of the image as a step: ``python -m vicur_components train.component:train EXECUTOR_INPUT``."""

# KFP's own kfp.dsl.executor_main runs source that a package embeds. Here the package names the code, and the image has it.

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from typing import Any

from kfp.dsl.executor import Executor

from vicur.errors import VicurError
from vicur.steps.mounted import use_mounted_settings

# .../PIPELINE/RUN/TASK/UNIQUE/output_metadata.json
_RUN = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/[^/]+/[^/]+/[^/]+$")


def main(target: str, executor_input: str) -> None:
    """Call the function of the component ``target`` with the inputs that the platform resolved, and write its outputs."""
    inputs = json.loads(executor_input)
    # A variable of the pod would take up space in the workflow's status, and a parameter would keep the platform's cache from hitting.
    os.environ.setdefault("VICUR_RUN_ID", run_id(inputs))
    use_mounted_settings()
    module, _, function = target.partition(":")
    component = getattr(importlib.import_module(f"vicur_components.{module}"), function)
    Executor(executor_input=inputs, function_to_execute=component).execute()


def run_id(executor_input: dict[str, Any]) -> str:
    """Return the id of the run, which is part of the path of a step's outputs.

    Raises:
        VicurError: if the path has another form than that of Kubeflow Pipelines.
    """
    path = executor_input["outputs"]["outputFile"]
    found = _RUN.search(path)
    if found is None:
        raise VicurError(
            f"there is no run id in the path of the outputs, {path!r}.",
            where="the executor input",
            remedy="Run the package with Kubeflow Pipelines 2.17.",
        )
    return found[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
