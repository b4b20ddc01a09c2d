"""What each step adds to the status of a workflow. Above 1 MiB, Kubeflow Pipelines stops reporting steps.

The status holds six copies of each step's pod patch: component source, declared inputs and outputs, and arguments, as JSON that is
escaped twice. Artifact addresses and pod settings add about 4 kB to each patch, which this does not count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from vicur_pipelines.package import write_package

from tests.pipelines.small import task_names
from vicur.cluster.keys import cache_keys
from vicur.config.compact import compact
from vicur.config.loading import load_settings
from vicur.config.run import RunConfig
from vicur.stage.table import STAGES
from vicur.steps.parameters import pipeline_parameters

CONFIG = Path(__file__).parents[2] / "configs" / "qwen3-vl-8b.yaml"


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Bytes of one copy of each step's patch."""
    config, versions = load_settings(RunConfig, CONFIG), dict.fromkeys(STAGES, "0123456789abcdef")
    file = tmp_path_factory.mktemp("package") / "p.yaml"
    write_package(file, config, None, versioned=True, pipeline="cluster")
    graph = next(yaml.safe_load_all(file.read_text()))
    parameters = pipeline_parameters(config, versions, cache_keys(config, versions))
    arguments: dict[str, Any] = {"preflight": {"preset": compact(config), "code_versions": versions}}
    for task, step in task_names(config).items():
        cell = {"cell": parameters["cells"][0][step.name]} if step.cell_name else {}
        arguments[task] = {"step": parameters[step.parameter], **cell}
    return {task: _patch(graph, task, values) for task, values in arguments.items()}


def _patch(graph: dict[str, Any], task: str, arguments: dict[str, Any]) -> int:
    component = graph["components"][f"comp-{task}"]
    executor = graph["deploymentSpec"]["executors"][component["executorLabel"]]
    return len(json.dumps(json.dumps([executor, component, arguments])))


def test_the_patch_of_each_step_stays_small(sizes: dict[str, int], record_property: Any) -> None:
    record_property("bytes", sizes)
    print(sizes)
    assert max(size for task, size in sizes.items() if task != "preflight") < 4000
    # It runs once per run, and has the whole form as its inputs.
    assert sizes["preflight"] < 7000


def test_a_method_adds_little_to_the_status(sizes: dict[str, int]) -> None:
    # Measured at 121 kB, including what this does not count, before the parameters of a step were one small mapping.
    assert 6 * (sizes["train"] + sizes["evaluate-2"]) < 40_000
