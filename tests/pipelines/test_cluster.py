"""The package for pools of GPUs: resources of its pods, its form, and the same results as a local run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from vicur_pipelines.cluster import cluster_pipeline
from vicur_pipelines.local import code_versions
from vicur_pipelines.package import write_package

from tests.pipelines.small import task_names, vicur
from vicur.cluster.request import Request
from vicur.config.cluster import ClusterConfig, StepResources
from vicur.config.loading import load_settings
from vicur.config.run import RunConfig
from vicur.stage.table import BENCHMARK_STAGES
from vicur.steps.mounted import MOUNTS
from vicur.steps.preflight_step import TRAINING_RESOURCES
from vicur.steps.stage_step import RETRIES
from vicur.tracking.injected import PLUGIN

POOLS = ClusterConfig(
    gpu_count=4,
    queue="gpu-queue",
    steps=StepResources(cpu="1", memory="2Gi"),
    gpu_steps=StepResources(cpu="16", memory="128Gi"),
    shared_memory="32Gi",
    step_timeout_hours=2,
    training_timeout_hours=48,
    retries=5,
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The compiled graph, and the Kubernetes settings of each executor."""
    return package_of(tmp_path_factory.mktemp("package"), RunConfig(methods=("vicur",), cluster=POOLS))


def package_of(folder: Path, config: RunConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    write_package(folder / "cluster.yaml", config, None, versioned=True, pipeline="cluster")
    graph, platform = yaml.safe_load_all((folder / "cluster.yaml").read_text())
    return graph, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def executors(graph: dict[str, Any], step: str) -> list[tuple[str, dict[str, Any]]]:
    """Executors of a stage: ``evaluate`` has two, for the base and for students."""
    found = graph["deploymentSpec"]["executors"].items()
    return [(name, each["container"]) for name, each in found if name in (f"exec-{step}", f"exec-{step}-base")]


TASKS = task_names(RunConfig())
STEPS = ("preflight", *dict.fromkeys(step.stage for step in TASKS.values()), "outcome")


def test_every_step_has_requests_limits_a_timeout_labels_and_an_unprivileged_user(package: Any) -> None:
    graph, platform = package
    assert len(platform) == len(graph["deploymentSpec"]["executors"]) == len(STEPS) + 1
    for step in STEPS:
        for name, container in executors(graph, step):
            resources, pod = container["resources"], platform[name]
            cpu, memory = ("16", "128Gi") if step == "evaluate" else ("1", "2Gi")
            limit = cpu
            if step == "train":
                cpu, limit, memory = (
                    f"{{{{$.inputs.parameters['training_{each}']}}}}" for each in ("cpu", "cpu_limit", "memory")
                )
            assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == (cpu, limit)
            assert {resources[f"resourceMemory{bound}"] for bound in ("Request", "Limit")} == {memory}
            assert pod["activeDeadlineSeconds"] == str(3600 * (48 if step == "train" else 2))
            assert pod["podMetadata"]["labels"]["app.kubernetes.io/part-of"] == "vicur"
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert container["image"] == "{{$.inputs.parameters['image']}}"


def test_the_steps_of_a_tiny_run_without_gpus_fit_a_small_node() -> None:
    pipeline = cluster_pipeline(code_versions(), RunConfig(cluster=ClusterConfig(gpu_count=0)))
    executors = json_format.MessageToDict(pipeline.pipeline_spec.deployment_spec)["executors"]
    resources = {name: each["container"]["resources"] for name, each in executors.items() if name != "exec-train"}
    assert "exec-evaluate" in resources
    for name, each in resources.items():
        memory = "2500Mi" if name.startswith("exec-evaluate") else "1500Mi"
        assert (each["resourceCpuRequest"], each["resourceCpuLimit"], each["resourceMemoryLimit"]) == (
            "200m",
            "1",
            memory,
        )


def test_only_evaluation_and_training_are_placed_in_the_pool(package: Any) -> None:
    graph, platform = package
    in_pool = {name for name, pod in platform.items() if "nodeSelector" in pod}
    assert in_pool == {"exec-train", "exec-evaluate", "exec-evaluate-base"}
    for name in in_pool:
        pod = platform[name]
        assert pod["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
        assert pod["tolerations"]
        (shared,) = pod["emptyDirMounts"]
        assert (shared["medium"], shared["mountPath"], shared["sizeLimit"]) == ("Memory", "/dev/shm", "32Gi")  # noqa: S108
        accelerator = graph["deploymentSpec"]["executors"][name]["container"]["resources"]["accelerator"]
        assert accelerator["resourceType"] == "{{$.inputs.parameters['gpu_type']}}"
        of_training = "{{$.inputs.parameters['training_gpus']}}"
        assert accelerator["resourceCount"] == (of_training if name == "exec-train" else "1")


def test_parameters_of_pods_are_passed_through_every_level(package: Any) -> None:
    """KFP 2.17 does not pass them into a loop by itself, and its driver would fail at run time."""
    graph, _ = package
    definitions = {name: each for name, each in graph["components"].items() if "dag" in each} | {"root": graph["root"]}
    for definition in definitions.values():
        inputs = {name for kind in definition.get("inputDefinitions", {}).values() for name in kind}
        for task in definition.get("dag", {}).get("tasks", {}).values():
            wanted = {
                value["componentInputParameter"]
                for value in task.get("inputs", {}).get("parameters", {}).values()
                if "componentInputParameter" in value
            }
            own = {task.get("parameterIterator", {}).get("itemInput")}
            assert wanted - own <= inputs
    loop = next(each for name, each in definitions.items() if name.startswith("comp-for-loop"))
    inner = loop["inputDefinitions"]["parameters"]
    for name in ("image", "gpu_type", "gpu_node_selector", "gpu_tolerations", *TRAINING_RESOURCES):
        assert name in inner


def test_each_secret_goes_only_to_the_steps_that_need_it(package: Any) -> None:
    _, platform = package
    holders: dict[str, set[str]] = {}
    for name, pod in platform.items():
        for secret in pod["secretAsVolume"]:
            holders.setdefault(secret["secretName"], set()).add(name)
    assert holders["vicur-cue"] == {"exec-preflight", "exec-extract"}
    assert holders["vicur-webhook"] == {"exec-outcome"}
    assert holders["vicur-hf"] == {"exec-preflight", "exec-prepare", "exec-base"}
    assert holders["vicur-s3"] == holders["vicur-mlflow"] == set(platform)


def test_only_steps_that_read_the_hub_know_its_token(package: Any) -> None:
    graph, platform = package
    known = {
        name for name, pod in platform.items() if f"{MOUNTS}/hub" in {v["mountPath"] for v in pod["secretAsVolume"]}
    }
    assert known == {"exec-preflight", "exec-prepare", "exec-base"}
    for name, each in graph["deploymentSpec"]["executors"].items():
        plain = {variable["name"]: variable["value"] for variable in each["container"].get("env", [])}
        # Without the volume there, a step must not stage to the path.
        mounts = {mount["mountPath"] for mount in platform[name].get("pvcMount", [])}
        assert ("VICUR_MODELS" in plain) == ("/models" in mounts)
        assert plain.get("VICUR_MODELS", "/models") == "/models"


def test_more_volumes_are_mounted_where_addresses_are_looked_up(tmp_path: Path) -> None:
    _, pods = package_of(tmp_path, RunConfig.model_validate({"cluster": {"data_claims": ["team-data"]}}))
    mounted = {
        name: {mount["constant"]: mount["mountPath"] for mount in pod.get("pvcMount", [])} for name, pod in pods.items()
    }
    both = {"vicur-models": "/models", "team-data": "/volumes/team-data"}
    steps = ("preflight", "prepare", "base", "train")
    assert {name: found for name, found in mounted.items() if found} == {f"exec-{name}": both for name in steps}


def test_no_step_sets_a_variable_of_kfps_mlflow_plugin(package: Any) -> None:
    graph, platform = package
    for name, each in graph["deploymentSpec"]["executors"].items():
        plain = {variable["name"] for variable in each["container"].get("env", [])}
        # Next to a plain value of the plugin, one from a secret makes the pod invalid, so secrets are files.
        assert not plain & set(PLUGIN)
        assert not platform[name].keys() & {"secretAsEnv", "configMapAsEnv", "fieldPathAsEnv"}
        mounted = {source["mountPath"] for source in platform[name]["secretAsVolume"]}
        assert {f"{MOUNTS}/mlflow", f"{MOUNTS}/storage"} <= mounted
        (endpoints,) = platform[name]["configMapAsVolume"]
        assert (endpoints["configMapName"], endpoints["mountPath"]) == ("vicur-endpoints", f"{MOUNTS}/endpoints")
        assert all(each["optional"] for each in (endpoints, *platform[name]["secretAsVolume"]))


def test_steps_know_the_number_of_retries_if_it_is_not_the_default(package: Any, tmp_path: Path) -> None:
    def retries(graph: dict[str, Any]) -> set[str]:
        containers = [each["container"] for each in graph["deploymentSpec"]["executors"].values()]
        return {
            variable["value"] for each in containers for variable in each.get("env", []) if variable["name"] == RETRIES
        }

    assert retries(package[0]) == {"5"}
    assert retries(package_of(tmp_path, RunConfig())[0]) == set()


def test_steps_that_read_folders_mount_the_volume_that_preflight_checks(package: Any) -> None:
    _, platform = package
    assert {name for name, pod in platform.items() if "pvcMount" in pod} == {
        "exec-preflight",
        "exec-prepare",
        "exec-base",
        "exec-train",
    }


def test_steps_are_retried_and_the_first_and_last_ones_are_never_cached(package: Any) -> None:
    graph, _ = package
    definitions = [graph["root"], *graph["components"].values()]
    tasks = [task for each in definitions for task in each.get("dag", {}).get("tasks", {}).values()]
    steps = {task["taskInfo"]["name"]: task for task in tasks if task["taskInfo"]["name"] in STEPS}
    assert steps.keys() == set(STEPS)
    # A retry cannot mend a wrong form.
    assert steps["preflight"].get("retryPolicy", {}).get("maxRetryCount", 0) == 0
    for task in (task for name, task in steps.items() if name != "preflight"):
        assert task["retryPolicy"]["maxRetryCount"] == 5
        # Argo counts from the first attempt's start and ends what still runs: longer than all attempts at the longest step.
        assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) > 6 * 8760 * 3600
    cached = {name for name, task in steps.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(STEPS) - {"preflight", "register", "outcome"}


def test_the_cache_of_a_step_sees_its_own_parameter_and_no_other(package: Any) -> None:
    graph, _ = package
    for name, step in TASKS.items():
        parameters = tasks_of(graph, "comp-for-loop" if step.cell_name else "comp-exit-handler")[name]["inputs"][
            "parameters"
        ]
        if step.cell_name:
            assert parameters["step"]["parameterExpressionSelector"] == f'parseJson(string_value)["{step.name}"]'
        else:
            made = {"outputParameterKey": step.parameter, "producerTask": "preflight"}
            assert parameters["step"] == {"taskOutputParameter": made}
        of_pods = {"image", "gpu_type", "training_cpu", "training_cpu_limit", "training_gpus", "training_memory"}
        assert parameters.keys() - of_pods == {"step"}


def tasks_of(graph: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Tasks of the only DAG component whose name starts with ``prefix``."""
    (component,) = [each for name, each in graph["components"].items() if name.startswith(prefix)]
    return dict(component["dag"]["tasks"])


def test_steps_are_one_level_below_the_run(package: Any) -> None:
    graph, _ = package
    assert graph["root"]["dag"]["tasks"].keys() == {"exit-handler-1", "outcome"}
    shared = {name for name, step in TASKS.items() if not step.cell_name}
    (loop,) = tasks_of(graph, "comp-exit-handler").keys() - shared - {"preflight"}
    assert loop.startswith("for-loop")
    assert tasks_of(graph, "comp-for-loop").keys() == {"train", "evaluate"}


def test_a_package_runs_the_code_of_its_image(package: Any) -> None:
    graph, _ = package
    for name, each in graph["deploymentSpec"]["executors"].items():
        container = each["container"]
        assert container["command"] == ["python3", "-P", "-m", "vicur_components"]
        target, executor_input = container["args"]
        assert executor_input == "{{$}}"
        module, _, function = target.partition(":")
        made = getattr(importlib.import_module(f"vicur_components.{module}"), function)
        assert f"exec-{made.name}" == name


def test_the_package_holds_the_code_versions(package: Any) -> None:
    graph, _ = package
    versions = {name: code for name, code in code_versions().items() if name not in BENCHMARK_STAGES}
    assert all(code in json.dumps(graph) for code in versions.values())


def test_the_form_has_the_values_of_the_preset_and_the_page_of_the_pipeline_explains_it(package: Any) -> None:
    graph, _ = package
    form = graph["root"]["inputDefinitions"]["parameters"]
    assert form.keys() == Request.model_fields.keys()
    assert all("defaultValue" in field and "description" not in field for field in form.values())
    assert form["train_methods"]["defaultValue"] == ["vicur"]
    assert form["gpu_count"]["defaultValue"] == 4
    assert form["gpu_tolerations"]["defaultValue"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    # The kfp command guesses types: a text that looks like a number would arrive as one.
    texts = [field["defaultValue"] for field in form.values() if field["parameterType"] == "STRING"]
    assert not [text for text in texts if text.replace(".", "").isdigit()]
    rows = graph["pipelineInfo"]["description"].split("|---|---|\n")[1].splitlines()
    assert [row.split("`")[1] for row in rows] == sorted(form)
    assert all(len(row) > 40 for row in rows)


@pytest.mark.parametrize("launching", [{"nodes": 2}, {"jobs": {"always": True}}], ids=["two nodes", "always"])
def test_a_train_job_waits_in_the_queue_and_its_step_has_no_timeout(tmp_path: Path, launching: dict[str, Any]) -> None:
    pools = ClusterConfig.model_validate({**POOLS.model_dump(), **launching})
    _, pods = package_of(tmp_path, RunConfig(cluster=pools))
    assert [name for name, pod in pods.items() if "activeDeadlineSeconds" not in pod] == ["exec-train"]
    queued = [name for name, pod in pods.items() if "kueue.x-k8s.io/queue-name" in pod["podMetadata"]["labels"]]
    assert queued == ["exec-evaluate", "exec-evaluate-base"]


def test_queued_steps_have_the_configured_priority(tmp_path: Path) -> None:
    pools = ClusterConfig.model_validate({**POOLS.model_dump(), "jobs": {"priority": "vicur-urgent"}})
    _, pods = package_of(tmp_path, RunConfig(cluster=pools))
    labels = {name: pod["podMetadata"]["labels"].get("kueue.x-k8s.io/priority-class") for name, pod in pods.items()}
    urgent = {name for name, label in labels.items() if label == "vicur-urgent"}
    assert urgent == {"exec-train", "exec-evaluate", "exec-evaluate-base"}


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("preset", ["qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b", "qwen3-vl-32b"])
def test_a_package_compiles_for_each_preset(preset: str, tmp_path: Path) -> None:
    config = load_settings(RunConfig, CONFIGS / f"{preset}.yaml")
    write_package(tmp_path / "p.yaml", config, None, versioned=True, pipeline="cluster")
    form = form_of(tmp_path / "p.yaml")
    assert form["model_student"]["defaultValue"].startswith("/models/Qwen3-VL-")
    assert form["gpu_count"]["defaultValue"] >= 1


def test_a_package_has_the_image_of_the_command(tmp_path: Path) -> None:
    # In another process, because the image is read when the components are imported.
    options = ("--image", "registry.example.com/vicur-python:9", "-o", "p.yaml")
    made = vicur(tmp_path, "compile", str(CONFIGS / "local.yaml"), *options)
    assert made.returncode == 0, made.stderr
    assert form_of(tmp_path / "p.yaml")["image"]["defaultValue"] == "registry.example.com/vicur-python:9"


def form_of(package: Path) -> dict[str, Any]:
    graph = next(yaml.safe_load_all(package.read_text()))
    return dict(graph["root"]["inputDefinitions"]["parameters"])
