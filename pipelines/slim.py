"""Leave out of a compiled package what only takes up space in the status of its runs."""

# Argo keeps the nodes of a run in one object of at most 1 MiB. Above that, Kubeflow Pipelines stops reporting steps. Each task adds its
# declaration twice and the patch of its pod six times (with the retries that KFP 2.17 sets for every template), as JSON that is escaped
# up to three times. What is removed here has no effect in release 2.17 of the driver, the launcher or the UI:
#
# - the source of components: the image has their code, and the code versions among the parameters identify it
# - the prefix of channels, and the inputs that only repeat a placeholder of the container
# - schema versions, declarations of inputs, and names that are written twice
#
# tests/pipelines/test_kfp_source.py states what each of these relies on, with the function of KFP's source that it was read in.

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import yaml
from vicur_components.component import TARGETS

_PREFIXES = ("pipelinechannel--preflight-", "pipelinechannel--")
# -P: pods start in /tmp, where KFP's launcher makes a folder called kfp. Python would look for modules there first.
_LAUNCH = ["python3", "-P", "-m", "vicur_components"]
_PLACEHOLDER = "{{$.inputs.parameters["
_STARTS_OF_NUMBERS = "+-.0123456789"


def slim(package: str) -> str:
    """Return a package, as KFP compiles it to YAML, without these."""
    for prefix in _PREFIXES:
        package = package.replace(prefix, "")
    graph, *platforms = yaml.load_all(package, _Loader)
    _slim_graph(graph)
    for platform in platforms:
        for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            _drop_repeated_names(executor)
    # KFP's own comment at the start lists the parameters, in an order that differs each time. It is not kept.
    documents = yaml.dump_all([graph, *platforms], Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=140)
    return str(documents)


class _Loader(yaml.SafeLoader):
    """Refuses a mapping in which names that differ by their prefix became one, unless their values are the same."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key, value = self.construct_object(key_node, deep=True), self.construct_object(value_node, deep=True)
            if seen.setdefault(key, value) != value:
                raise ValueError(f"two values for {key!r} in a package, without the prefixes of channels")
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that Go's YAML 1.2 takes for numbers or dates and Python's YAML 1.1 does not, such as the digest ``12345e67``."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = text.startswith(tuple(_STARTS_OF_NUMBERS))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)


_Dumper.add_representer(str, _text)


def _slim_graph(graph: dict[str, Any]) -> None:
    for component in graph["components"].values():
        for artifact in _artifacts(component):
            artifact["artifactType"].pop("schemaVersion", None)
        if "dag" not in component:
            _drop_inputs(component)
        for task in component.get("dag", {}).get("tasks", {}).values():
            _drop_placeholders(task)
    for task in graph["root"]["dag"]["tasks"].values():
        _drop_placeholders(task)
    for executor in graph["deploymentSpec"]["executors"].values():
        _run_code_of_the_image(executor["container"])


def _artifacts(component: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for side in ("inputDefinitions", "outputDefinitions"):
        yield from component.get(side, {}).get("artifacts", {}).values()


def _drop_inputs(component: dict[str, Any]) -> None:
    # The driver checks the types of declared parameters, and the launcher fills in their defaults. Steps do both themselves.
    declared = component.pop("inputDefinitions", {}).get("parameters", {})
    kept = {name: each for name, each in declared.items() if each["parameterType"] == "TASK_FINAL_STATUS"}
    if kept:
        component["inputDefinitions"] = {"parameters": kept}


def _drop_placeholders(task: dict[str, Any]) -> None:
    parameters = task.get("inputs", {}).get("parameters", {})
    for name, each in list(parameters.items()):
        constant = each.get("runtimeValue", {}).get("constant")
        if isinstance(constant, str) and constant.startswith(_PLACEHOLDER):
            del parameters[name]


def _run_code_of_the_image(container: dict[str, Any]) -> None:
    container["args"] = [TARGETS[container["command"][-1]], "{{$}}"]
    container["command"] = list(_LAUNCH)


def _drop_repeated_names(executor: Mapping[str, Any]) -> None:
    # kfp writes constant names twice: as a parameter, and as older releases of the server read them.
    for kind in ("secretAsVolume", "configMapAsVolume", "pvcMount"):
        for each in executor.get(kind, ()):
            for name in [name for name in each if name.endswith("NameParameter")]:
                del each[name]
