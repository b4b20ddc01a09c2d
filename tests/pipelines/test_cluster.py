"""The pipeline for pools of GPUs: what its pods get, what its form asks, and that it computes what a run on this machine does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler
from vicur_pipelines.cluster import cluster_pipeline
from vicur_pipelines.local import code_versions

from tests.pipelines.small import SMALL, environment, summary, vicur
from vicur.cluster.request import Request
from vicur.config.cluster import ClusterConfig, StepResources
from vicur.config.run import RunConfig
from vicur.steps.preflight_step import passed_on

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
    """The compiled graph, and what Kubernetes is told of each executor."""
    file = tmp_path_factory.mktemp("package") / "cluster.yaml"
    pipeline = cluster_pipeline(code_versions(), RunConfig(methods=("vicur",), cluster=POOLS))
    compiler.Compiler().compile(pipeline, str(file))
    graph, platform = yaml.safe_load_all(file.read_text())
    return graph, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def executors(graph: dict[str, Any], step: str) -> list[tuple[str, dict[str, Any]]]:
    """Executors of a step: ``evaluate`` has two, for the base and for students."""
    found = graph["deploymentSpec"]["executors"].items()
    return [(name, each["container"]) for name, each in found if name in (f"exec-{step}", f"exec-{step}-2")]


STEPS = ("preflight", "prepare", "extract", "base", "evaluate", "train", "compare", "register", "outcome")


def test_every_step_has_requests_limits_a_timeout_labels_and_a_user_that_is_not_root(package: Any) -> None:
    graph, platform = package
    assert len(platform) == len(graph["deploymentSpec"]["executors"]) == len(STEPS) + 1
    for step in STEPS:
        for name, container in executors(graph, step):
            resources, pod = container["resources"], platform[name]
            cpu, memory = ("16", "128Gi") if step == "evaluate" else ("1", "2Gi")
            if step == "train":
                cpu, memory = (
                    f"{{{{$.inputs.parameters['pipelinechannel--step_{each}']}}}}" for each in ("cpu", "memory")
                )
            assert {resources[f"resourceCpu{bound}"] for bound in ("Request", "Limit")} == {cpu}
            assert {resources[f"resourceMemory{bound}"] for bound in ("Request", "Limit")} == {memory}
            assert pod["activeDeadlineSeconds"] == str(3600 * (48 if step == "train" else 2))
            assert pod["podMetadata"]["labels"]["app.kubernetes.io/part-of"] == "vicur"
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert container["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"


def test_evaluation_and_training_alone_are_in_the_pool(package: Any) -> None:
    graph, platform = package
    in_pool = {name for name, pod in platform.items() if "nodeSelector" in pod}
    assert in_pool == {"exec-train", "exec-evaluate", "exec-evaluate-2"}
    for name in in_pool:
        pod = platform[name]
        assert pod["podMetadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
        assert pod["tolerations"]
        (shared,) = pod["emptyDirMounts"]
        assert (shared["medium"], shared["mountPath"], shared["sizeLimit"]) == ("Memory", "/dev/shm", "32Gi")  # noqa: S108
        accelerator = graph["deploymentSpec"]["executors"][name]["container"]["resources"]["accelerator"]
        assert accelerator["resourceType"] == "{{$.inputs.parameters['pipelinechannel--gpu_type']}}"
        of_training = "{{$.inputs.parameters['pipelinechannel--step_gpus']}}"
        assert accelerator["resourceCount"] == (of_training if name == "exec-train" else "1")


def test_each_parameter_that_a_pod_reads_reaches_it_through_every_level(package: Any) -> None:
    """KFP 2.17 does not hand the parameters of resources on into a loop by itself; the driver would fail at run time."""
    graph, _ = package
    definitions = {**graph["components"], "root": graph["root"]}
    for definition in definitions.values():
        given = {name for kind in definition.get("inputDefinitions", {}).values() for name in kind}
        for task in definition.get("dag", {}).get("tasks", {}).values():
            wanted = {
                value["componentInputParameter"]
                for value in task.get("inputs", {}).get("parameters", {}).values()
                if "componentInputParameter" in value
            }
            own = {task.get("parameterIterator", {}).get("itemInput")}
            assert wanted - own <= given
    loop = next(each for name, each in definitions.items() if name.startswith("comp-for-loop"))
    inner = loop["inputDefinitions"]["parameters"]
    of_steps = [f"step_{name}" for name in ("gpus", "cpu", "memory", "selector", "tolerations")]
    for name in ("image", "gpu_type", "node_selector", "tolerations", *of_steps):
        assert f"pipelinechannel--{name}" in inner


def test_secrets_are_named_and_each_goes_to_the_steps_that_need_it(package: Any) -> None:
    _, platform = package
    holders: dict[str, set[str]] = {}
    for name, pod in platform.items():
        for secret in pod["secretAsEnv"]:
            holders.setdefault(secret["secretName"], set()).add(name)
    assert holders["vicur-cue"] == {"exec-preflight", "exec-extract"}
    assert holders["vicur-webhook"] == {"exec-outcome"}
    assert holders["vicur-s3"] == holders["vicur-mlflow"] == set(platform)


def test_each_step_that_reads_a_folder_sees_what_the_first_one_saw(package: Any) -> None:
    """A dataset below /models would else be found by the first step, and be missing in the next."""
    _, platform = package
    assert {name for name, pod in platform.items() if "pvcMount" in pod} == {
        "exec-preflight",
        "exec-prepare",
        "exec-base",
        "exec-train",
    }


def test_steps_are_tried_again_and_the_first_and_last_ones_never_come_from_the_cache(package: Any) -> None:
    graph, _ = package
    definitions = [graph["root"], *graph["components"].values()]
    tasks = [task for each in definitions for task in each.get("dag", {}).get("tasks", {}).values()]
    steps = {task["taskInfo"]["name"]: task for task in tasks if task["taskInfo"]["name"] in STEPS}
    assert steps.keys() == set(STEPS)
    # What is wrong with a form stays wrong.
    assert steps["preflight"].get("retryPolicy", {}).get("maxRetryCount", 0) == 0
    for task in (task for name, task in steps.items() if name != "preflight"):
        assert task["retryPolicy"]["maxRetryCount"] == 5
        # All attempts at the longest step that a configuration allows: Argo counts from the first one's start, and ends what runs then.
        assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) > 6 * 8760 * 3600
    cached = {name for name, task in steps.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(STEPS) - {"preflight", "register", "outcome"}


def test_what_the_cache_goes_by_holds_code_and_content(package: Any) -> None:
    graph, _ = package
    text = json.dumps(graph)
    assert all(code in text for stage, code in code_versions().items() if stage != "ablate")
    tasks = graph["components"]["comp-distillation"]["dag"]["tasks"]
    assert tasks["prepare"]["inputs"]["parameters"]["given"] == {"componentInputParameter": "dataset_key"}
    assert tasks["extract"]["inputs"]["parameters"]["given"] == {"componentInputParameter": "cues_key"}
    assert tasks["evaluate"]["inputs"]["parameters"]["given"] == {"componentInputParameter": "baseline_key"}


def test_the_form_is_described_and_has_the_presets_values(package: Any) -> None:
    graph, _ = package
    form = graph["root"]["inputDefinitions"]["parameters"]
    assert form.keys() == Request.model_fields.keys()
    assert all(len(field["description"]) > 10 and "defaultValue" in field for field in form.values())
    assert form["methods"]["defaultValue"] == ["vicur"]
    assert form["gpu_count"]["defaultValue"] == 4
    # Values on kfp's command line are guessed: a text that looks like a number would arrive as one.
    texts = [field["defaultValue"] for field in form.values() if field["parameterType"] == "STRING"]
    assert not [text for text in texts if text.replace(".", "").isdigit()]


TAINT = {"key": "gpu", "operator": "Exists", "value": "", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("nodes", "room"),
    [
        (1, {"gpus": "4", "cpu": "16", "memory": "128Gi", "selector": {"pool": "a"}, "tolerations": [TAINT]}),
        (2, {"gpus": "0", "cpu": "1", "memory": "2Gi", "selector": {}, "tolerations": []}),
    ],
)
def test_a_step_that_only_waits_for_a_job_asks_for_little_and_for_no_place_in_the_pool(
    nodes: int, room: dict[str, Any]
) -> None:
    placed = {"nodes": nodes, "node_selector": {"pool": "a"}, "tolerations": [TAINT]}
    pools = ClusterConfig.model_validate({**POOLS.model_dump(), **placed})
    outputs = passed_on(RunConfig(methods=("vicur",), cluster=pools), code_versions())
    assert {name: outputs[f"step_{name}"] for name in room} == room


def test_in_a_package_for_several_nodes_the_job_waits_in_the_queue_and_its_step_waits_without_an_end(
    tmp_path: Path,
) -> None:
    pipeline = cluster_pipeline(code_versions(), RunConfig(cluster=POOLS.model_copy(update={"nodes": 2})))
    compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
    _, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert [name for name, pod in pods.items() if "activeDeadlineSeconds" not in pod] == ["exec-train"]
    queued = [name for name, pod in pods.items() if "kueue.x-k8s.io/queue-name" in pod["podMetadata"]["labels"]]
    assert queued == ["exec-evaluate", "exec-evaluate-2"]


def test_what_waits_in_the_queue_has_the_priority_that_is_named(tmp_path: Path) -> None:
    pools = ClusterConfig.model_validate({**POOLS.model_dump(), "jobs": {"priority": "vicur-urgent"}})
    compiler.Compiler().compile(cluster_pipeline(code_versions(), RunConfig(cluster=pools)), str(tmp_path / "p.yaml"))
    _, platform = yaml.safe_load_all((tmp_path / "p.yaml").read_text())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    labels = {name: pod["podMetadata"]["labels"].get("kueue.x-k8s.io/priority-class") for name, pod in pods.items()}
    urgent = {name for name, label in labels.items() if label == "vicur-urgent"}
    assert urgent == {"exec-train", "exec-evaluate", "exec-evaluate-2"}


@pytest.mark.parametrize("preset", ["qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b", "qwen3-vl-32b", "local"])
def test_a_package_compiles_for_each_preset(preset: str, tmp_path: Path) -> None:
    config = Path(__file__).parents[2] / "configs" / f"{preset}.yaml"
    made = vicur(tmp_path, "compile", str(config), "--image", "registry.example.com/vicur-python:9", "-o", "p.yaml")
    assert made.returncode == 0, made.stderr
    graph = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    form = graph["root"]["inputDefinitions"]["parameters"]
    assert form["image"]["defaultValue"] == "registry.example.com/vicur-python:9"
    if preset != "local":
        assert form["student"]["defaultValue"].startswith("/models/Qwen3-VL-")
        assert form["gpu_count"]["defaultValue"] >= 1


RUN = """
import json, sys
from kfp import local
from vicur_pipelines.cluster import cluster_pipeline
from vicur_pipelines.local import code_versions
from vicur.config.run import RunConfig
from vicur.steps.preflight_step import passed_on

preset, form = json.loads(sys.argv[1]), json.loads(sys.argv[2])
local.init(local.SubprocessRunner(use_venv=False), pipeline_root="outputs", raise_on_error=True)
pipeline = cluster_pipeline(code_versions(), RunConfig.model_validate(preset))
defaults = {name: field.default for name, field in pipeline.component_spec.inputs.items()}
pipeline(**{**defaults, **form})
"""


def run_in_pools(folder: Path, **form: Any) -> subprocess.CompletedProcess[str]:
    """Runs the pipeline for pools through kfp.local, which leaves out what only a cluster has."""
    preset = {
        **SMALL,
        "base": {"path": "tiny"},
        "methods": ["opsd", "vicur"],
        "cluster": {"gpu_count": 0, "look": False, "retries": 0},
    }
    return subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(preset), json.dumps(form)],
        cwd=folder,
        env={**environment(), "VICUR_RUN_ID": "pools", "VICUR_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )


def comparison(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("comparison.json")
    return dict(json.loads(file.read_text()))


@pytest.mark.slow
def test_it_computes_what_a_run_on_this_machine_does(tmp_path: Path) -> None:
    pools, local = tmp_path / "pools", tmp_path / "local"
    pools.mkdir()
    local.mkdir()
    made = run_in_pools(pools, methods=["vicur"], overrides={"training.steps": 3}, seed=1)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    settings = json.dumps({**SMALL, "base": {"path": "tiny"}, "methods": ["vicur"], "seed": 1})
    (local / "config.yaml").write_text(settings)
    assert vicur(local, "run", "config.yaml", "--set", "training.steps=3").returncode == 0
    assert summary(local)["status"] == "succeeded"
    assert comparison(pools / "outputs") == comparison(local / "runs" / "latest")


def test_a_form_that_is_wrong_fails_in_the_first_step_and_starts_nothing(tmp_path: Path) -> None:
    made = run_in_pools(tmp_path, overrides={"training.stepz": 3})
    assert made.returncode != 0
    assert "there is no setting 'training.stepz'" in made.stdout + made.stderr
    (run,) = (tmp_path / "outputs").iterdir()
    assert {step.name for step in run.iterdir()} <= {"preflight", "outcome"}


def test_a_training_is_told_its_nodes_by_the_first_step(package: Any) -> None:
    """Through the pipeline in the pipeline and the loop."""

    def given(component: str, task: str) -> dict[str, Any]:
        parameters: dict[str, Any] = graph["components"][component]["dag"]["tasks"][task]["inputs"]["parameters"]
        return parameters

    graph, _ = package
    made = given("comp-exit-handler-1", "distillation")["cluster"]["taskOutputParameter"]
    assert made == {"outputParameterKey": "cluster", "producerTask": "preflight"}
    channel = "pipelinechannel--cluster"
    assert given("comp-distillation", "for-loop-1")[channel] == {"componentInputParameter": "cluster"}
    assert given("comp-for-loop-1", "train")["cluster"] == {"componentInputParameter": channel}
