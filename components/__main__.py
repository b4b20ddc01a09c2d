"""Run a component of the image as a step: ``python -m vicur_components train.component:train EXECUTOR_INPUT``."""

# KFP's own kfp.dsl.executor_main runs source that a package embeds. Here the package names the code, and the image has it.

from __future__ import annotations

import importlib
import json
import sys

from kfp.dsl.executor import Executor


def main(target: str, executor_input: str) -> None:
    """Call the function of the component ``target`` with the inputs that the platform resolved, and write its outputs."""
    module, _, function = target.partition(":")
    component = getattr(importlib.import_module(f"vicur_components.{module}"), function)
    Executor(executor_input=json.loads(executor_input), function_to_execute=component).execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
