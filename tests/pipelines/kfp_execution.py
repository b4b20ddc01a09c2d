"""A double of Kubeflow Pipelines' drivers: executes a compiled package symbolically, without running any step.

It resolves the inputs of every DAG and container task as ``backend/src/v2/driver`` of release 2.17 does: parameters, constants,
selectors, artifacts and collected artifacts. Which values a task returns as output parameters is up to the caller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

Spec = Mapping[str, Any]
_SELECTOR = re.compile(r'parseJson\(string_value\)\["(.+)"\]')
_PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")


@dataclass(frozen=True)
class Artifact:
    """An output of an executed task."""

    task: str
    output: str
    iteration: int | None = None


@dataclass(frozen=True)
class Executed:
    """A task that a driver has prepared: a DAG if ``executor`` is empty, otherwise a container."""

    name: str
    path: str  # below the workflow's name
    kind: str  # container, dag, loop, iteration
    component: Spec
    task: Spec
    executor: Spec = field(default_factory=dict)
    kubernetes: Spec = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, list[Artifact]] = field(default_factory=dict)
    iteration: int | None = None

    @property
    def outputs(self) -> Spec:
        return dict((self.component.get("outputDefinitions") or {}).get("artifacts") or {})

    @property
    def container(self) -> Spec:
        """The executor's container, with placeholders resolved outside of its command."""

        def resolved(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: resolved(each) for key, each in value.items()}
            if isinstance(value, str):
                return _PLACEHOLDER.sub(lambda match: str(self.parameters[match[1]]), value)
            return value

        container = self.executor["container"]
        return {key: value if key in ("command", "args") else resolved(value) for key, value in container.items()}


Outputs = Callable[[Executed], Mapping[str, Any]]


@dataclass
class Scope:
    """The inputs of a DAG, and the outputs of its finished tasks."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, list[Artifact]]
    task_parameters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    task_artifacts: dict[tuple[str, str], list[Artifact]] = field(default_factory=dict)

    def parameter(self, declared: Spec) -> Any:
        if "runtimeValue" in declared:
            return declared["runtimeValue"]["constant"]
        if "taskOutputParameter" in declared:
            source = declared["taskOutputParameter"]
            return self.task_parameters[source["producerTask"]][source["outputParameterKey"]]
        if "taskFinalStatus" in declared:
            return {"state": "SUCCEEDED", "pipelineJobResourceName": "r" * 40, "pipelineTaskName": "exit-handler-1"}
        value = self.parameters[declared["componentInputParameter"]]
        selector = _SELECTOR.fullmatch(declared.get("parameterExpressionSelector", ""))
        return value[selector[1]] if selector else value

    def artifact(self, declared: Spec) -> list[Artifact]:
        if "taskOutputArtifact" in declared:
            source = declared["taskOutputArtifact"]
            return self.task_artifacts[source["producerTask"], source["outputArtifactKey"]]
        return self.artifacts[declared["componentInputArtifact"]]


class Execution:
    """An execution of a package. Iterating executes it, and yields its tasks in an order in which KFP may run them."""

    def __init__(self, package: Path, arguments: Mapping[str, Any], outputs: Outputs) -> None:
        documents = list(yaml.safe_load_all(package.read_text(encoding="utf-8")))
        self.spec: Spec = documents[0]
        platform = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if documents[1:] else {}
        self.platform: Spec = platform
        self._outputs = outputs
        declared = self.spec["root"]["inputDefinitions"]["parameters"]
        unknown = set(arguments) - set(declared)
        assert not unknown, f"the package has no parameters {unknown}"
        self.arguments = {**{name: each.get("defaultValue") for name, each in declared.items()}, **arguments}

    def __iter__(self) -> Iterator[Executed]:
        root = self.spec["root"]
        yield Executed("root", ".root", "dag", root, {}, parameters=self.arguments)
        yield from self._dag(root, Scope(self.arguments, {}), ".root", None)

    def _dag(self, component: Spec, scope: Scope, path: str, iteration: int | None) -> Iterator[Executed]:
        tasks = component["dag"]["tasks"]
        order = TopologicalSorter({name: sorted(tasks[name].get("dependentTasks") or ()) for name in sorted(tasks)})
        for name in order.static_order():
            exits = "triggerPolicy" in tasks[name]
            below = f"{path}.{'exit-handler-1.onExit.' if exits else ''}{name}"
            yield from self._task(name, tasks[name], scope, below, iteration)

    def _task(self, name: str, task: Spec, scope: Scope, path: str, iteration: int | None) -> Iterator[Executed]:
        component = self.spec["components"][task["componentRef"]["name"]]
        inputs = task.get("inputs") or {}
        parameters = {key: scope.parameter(each) for key, each in (inputs.get("parameters") or {}).items()}
        artifacts = {key: scope.artifact(each) for key, each in (inputs.get("artifacts") or {}).items()}
        _check_inputs(name, component, task, parameters)
        if "dag" not in component:
            label = component["executorLabel"]
            executor = self.spec["deploymentSpec"]["executors"][label]
            kubernetes = self.platform.get(label) or {}
            done = Executed(
                name, path, "container", component, task, executor, kubernetes, parameters, artifacts, iteration
            )
            yield done
            scope.task_parameters[name] = self._outputs(done) if _output_parameters(component) else {}
            for output in done.outputs:
                scope.task_artifacts[name, output] = [Artifact(name, output, iteration)]
            return
        if "parameterIterator" not in task:
            yield Executed(name, path, "dag", component, task, parameters=parameters, artifacts=artifacts)
            yield from self._dag(component, Scope(parameters, artifacts), path, iteration)
            return
        yield Executed(name, path, "loop", component, task, parameters=parameters, artifacts=artifacts)
        iterator = task["parameterIterator"]
        source = iterator["items"]
        items = json.loads(source["raw"]) if "raw" in source else parameters[source["inputParameter"]]
        collected: dict[str, list[Artifact]] = {}
        for index, item in enumerate(items):
            inner = Scope({**parameters, iterator["itemInput"]: item}, artifacts)
            inside = f"{path}.iteration-iterations({index}:{index}).iteration-item"
            yield Executed(
                name,
                inside,
                "iteration",
                component,
                task,
                parameters=inner.parameters,
                artifacts=artifacts,
                iteration=index,
            )
            yield from self._dag(component, inner, inside, index)
            for output, made in ((component["dag"].get("outputs") or {}).get("artifacts") or {}).items():
                (selected,) = made["artifactSelectors"]
                found = inner.task_artifacts[selected["producerSubtask"], selected["outputArtifactKey"]]
                collected.setdefault(output, []).extend(found)
        for output, found in collected.items():
            scope.task_artifacts[name, output] = found


def _output_parameters(component: Spec) -> Spec:
    return dict((component.get("outputDefinitions") or {}).get("parameters") or {})


def _check_inputs(name: str, component: Spec, task: Spec, parameters: Mapping[str, Any]) -> None:
    """Refuse what the driver refuses: a declared parameter without a value."""
    iterator = task.get("parameterIterator") or {}
    for parameter, declared in ((component.get("inputDefinitions") or {}).get("parameters") or {}).items():
        if parameter not in parameters and parameter != iterator.get("itemInput"):
            assert declared.get("isOptional") or "defaultValue" in declared, f"{name} has no value for {parameter}"
