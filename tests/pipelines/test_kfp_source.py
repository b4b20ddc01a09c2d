"""Packages rely on details of Kubeflow Pipelines 2.17.0 that no double can prove. Each test names the function in its source.

Paths are relative to ``backend/src`` of kubeflow/pipelines, branch release-2.17.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineDeploymentConfig, PipelineSpec
from vicur_pipelines.package import write_package
from vicur_pipelines.slim import slim
from vicur_pipelines.table import PIPELINES

from vicur.config.kubernetes import VOLUMES_OF_THE_PLATFORM
from vicur.config.loading import load_settings
from vicur.config.run import RunConfig
from vicur.stage.table import BENCHMARK_STAGES, STAGES

CONFIGS = Path(__file__).parents[2] / "configs"
PACKAGES = [("cluster", "qwen3-vl-8b.yaml"), ("ablation", "ablation.yaml"), ("distill", "qwen3-vl-8b.yaml")]
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Container:
    """A task that runs a container, with the DAG that it is in."""

    name: str
    task: Spec
    dag: Spec
    component: Spec
    executor: Spec
    kubernetes: Spec


@dataclass(frozen=True)
class Package:
    text: str

    @property
    def graph(self) -> dict[str, Any]:
        return dict(next(yaml.safe_load_all(self.text)))

    @property
    def platform(self) -> dict[str, Any]:
        _, platform = yaml.safe_load_all(self.text)
        return dict(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])

    def containers(self) -> Iterator[Container]:
        graph, platform = self.graph, self.platform
        executors = graph["deploymentSpec"]["executors"]
        for dag in (graph["root"], *graph["components"].values()):
            for name, task in dag.get("dag", {}).get("tasks", {}).items():
                component = graph["components"][task["componentRef"]["name"]]
                if label := component.get("executorLabel"):
                    yield Container(name, task, dag, component, executors[label]["container"], platform[label])


@pytest.fixture(scope="module", params=PACKAGES, ids=[pipeline for pipeline, _ in PACKAGES])
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    pipeline, file = request.param
    config = load_settings(PIPELINES[pipeline].config, CONFIGS / file)
    output = tmp_path_factory.mktemp("package") / "p.yaml"
    write_package(output, config, None, versioned=True, pipeline=pipeline)
    return Package(output.read_text())


def kinds(definitions: Spec) -> dict[str, str]:
    declared = definitions.get("inputDefinitions", {}).get("parameters", {})
    return {name: each["parameterType"] for name, each in declared.items()}


def test_every_field_is_one_that_the_server_knows(package: Package) -> None:
    """NewV2SpecTemplate (apiserver/template/v2_template.go) and containerExecutorTask (v2/compiler/argocompiler/container.go)
    refuse unknown fields.
    """
    spec = json_format.ParseDict(package.graph, PipelineSpec())
    assert (spec.schema_version, spec.root.WhichOneof("implementation")) == ("2.1.0", "dag")
    json_format.ParseDict(package.graph["deploymentSpec"], PipelineDeploymentConfig())
    for each in package.platform.values():
        json_format.ParseDict(each, KubernetesExecutorConfig())


def test_components_differ_in_their_containers(package: Package) -> None:
    """hashComponentContainer (v2/compiler/argocompiler/argo.go) identifies a component by its container only, and getFingerPrint
    (v2/driver/cache.go) a step by command and arguments.
    """
    containers = [json.dumps(each.executor, sort_keys=True) for each in package.containers()]
    assert len(set(containers)) == len(containers)
    commands = [(*each.executor["command"], *each.executor["args"]) for each in package.containers()]
    assert len(set(commands)) == len(commands)


def test_no_parameter_can_be_null(package: Package) -> None:
    """Without a declaration, resolveInputs (v2/driver/resolve.go) refuses null, and so does getPlaceholders
    (v2/component/launcher_v2.go). Callers cannot pass null: validatePipelineJobInputs (v2_template.go) refuses it.
    """
    for name, each in package.graph["root"]["inputDefinitions"]["parameters"].items():
        assert each.get("defaultValue") is not None, name


def test_placeholders_of_a_pod_are_texts_among_the_inputs_of_its_task(package: Package) -> None:
    """resolvePodSpecInputRuntimeParameter (v2/driver/resolve.go) reads the inputs of the task as texts. Only the DAGs around it still
    declare types, by which resolveInputs converts values to text.
    """
    for each in package.containers():
        for name in _PLACEHOLDER.findall(json.dumps(each.executor)):
            passed = each.task["inputs"]["parameters"][name]
            assert kinds(each.dag)[passed["componentInputParameter"]] == "STRING", (each.name, name)


def test_placement_is_among_the_inputs_of_the_dag(package: Package) -> None:
    """extendPodSpecPatch (v2/driver/k8s.go) resolves it from the inputs of the DAG around the task, not from those of the task."""
    placed = 0
    for each in package.containers():
        selector = each.kubernetes.get("nodeSelector", {}).get("nodeSelectorJson")
        tolerations = [toleration.get("tolerationJson") for toleration in each.kubernetes.get("tolerations", ())]
        placed += bool(each.kubernetes.get("nodeSelector"))
        for found, kind in [(selector, "STRUCT"), *((toleration, "LIST") for toleration in tolerations)]:
            if found and "runtimeValue" not in found:
                assert kinds(each.dag)[found["componentInputParameter"]] == kind, each.name
    assert placed == 3


def test_volumes_have_valid_and_different_names(package: Package) -> None:
    """extendPodSpecPatch (v2/driver/k8s.go) calls a volume as what it mounts; those of addContainerExecutorTemplate
    (v2/compiler/argocompiler/container.go) are there already.
    """
    for each in package.containers():
        named = [volume["secretName"] for volume in each.kubernetes.get("secretAsVolume", ())]
        named += [volume["configMapName"] for volume in each.kubernetes.get("configMapAsVolume", ())]
        named += [volume["constant"] for volume in each.kubernetes.get("pvcMount", ())]
        assert len(set(named)) == len(named)
        assert not {*named} & {*VOLUMES_OF_THE_PLATFORM}
        assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in named)
        own = [volume["volumeName"] for volume in each.kubernetes.get("emptyDirMounts", ())]
        assert own in ([], ["shm"])


def test_a_secret_for_several_purposes_is_one_volume(tmp_path: Path) -> None:
    secrets = dict.fromkeys(("storage", "tracking", "cues", "webhook", "hub"), "all")
    config = RunConfig.model_validate({"cluster": {"secrets": secrets}})
    write_package(tmp_path / "p.yaml", config, None, versioned=False, pipeline="cluster")
    for each in Package((tmp_path / "p.yaml").read_text()).containers():
        assert [volume["secretName"] for volume in each.kubernetes["secretAsVolume"]] == ["all"]


def test_tasks_of_one_template_have_the_same_retry_parameters(package: Package) -> None:
    """addContainerExecutorTemplate (v2/compiler/argocompiler/container.go) makes one template for all tasks with equally many labels,
    and getTaskRetryParametersWithValues leaves out a duration that is not set.
    """
    for each in package.containers():
        assert {"backoffDuration", "backoffMaxDuration", "backoffFactor"} <= each.task["retryPolicy"].keys(), each.name


def test_the_exit_step_depends_on_the_graph_that_it_reports(package: Package) -> None:
    """resolveInputParameter (v2/driver/resolve.go) gives the state of the first dependency, whatever producerTask says."""
    task = package.graph["root"]["dag"]["tasks"]["outcome"]
    assert task["inputs"]["parameters"]["status"]["taskFinalStatus"]["producerTask"] == task["dependentTasks"][0]
    assert package.graph["components"]["comp-outcome"]["inputDefinitions"]["parameters"]["status"]["isOptional"]


def test_an_item_of_the_loop_reaches_its_steps_as_text(package: Package) -> None:
    """resolveInputs (v2/driver/resolve.go) turns an object into JSON where the loop declares a text, and Select
    (v2/expression/expression.go) evaluates the selector on it. A selector on an object would find no ``string_value`` of it to parse.
    """
    dags = [each for each in package.graph["components"].values() if "dag" in each]
    (loop,) = [each for each in dags if "evaluate" in each["dag"]["tasks"]]
    for name in ("train", "evaluate"):
        step = loop["dag"]["tasks"][name]["inputs"]["parameters"]["step"]
        assert step["parameterExpressionSelector"] == f'parseJson(string_value)["{name}"]'
        assert kinds(loop)[step["componentInputParameter"]] == "STRING"


def plain_texts(text: str) -> Iterator[str]:
    """Scalars without quotes that Python reads as text."""
    for token in yaml.scan(text):
        if isinstance(token, yaml.ScalarToken) and token.plain and isinstance(yaml.safe_load(token.value), str):
            yield token.value


def test_digests_that_look_like_numbers_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NewV2SpecTemplate (apiserver/template/v2_template.go) reads YAML 1.2 with gopkg.in/yaml.v3, whose resolve (resolve.go) takes
    these for numbers or dates, unlike PyYAML.
    """
    looks = ("8484787713e48880", "0912345678901234", "1_2e3", "0o17", "2026-1-2", "+1e5", "-.5e1", "0X1F")
    versions = dict(zip([each for each in STAGES if each not in BENCHMARK_STAGES], looks, strict=False))
    monkeypatch.setattr("vicur_pipelines.package._code_versions", lambda: versions)
    write_package(tmp_path / "p.yaml", None, None, versioned=True, pipeline="cluster")
    text = (tmp_path / "p.yaml").read_text()
    graph = next(yaml.safe_load_all(text))
    tasks = graph["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["preflight"]["inputs"]["parameters"]["code_versions"]["runtimeValue"]["constant"] == versions
    assert [each for each in plain_texts(text) if each[0] in "+-.0123456789"] == []


def test_names_that_the_prefix_kept_apart_are_refused() -> None:
    # kfp writes the parameter of a task and the channel for its pod next to each other.
    with pytest.raises(ValueError, match="two values for 'image'"):
        slim("inputs:\n  image: {runtimeValue: 1}\n  pipelinechannel--image: {componentInputParameter: image}\n")
