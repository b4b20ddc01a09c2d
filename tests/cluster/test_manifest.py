"""The job's manifest is valid for each supported Trainer and has the labels, owner and resources that the cluster needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.launching import JOB, OWNER, REQUEST
from tests.cluster.trainjob_schemas import VERSIONS, problems, schema_of
from tests.crds import crd_file
from vicur.cluster.jobs.manifest import POD_COMMAND, train_job
from vicur.cluster.jobs.names import job_name, label_value
from vicur.config.cluster import ClusterConfig
from vicur.config.jobs import JobsConfig
from vicur.config.validation import validated
from vicur.errors import VicurError

ROOT = Path(__file__).parents[2]
POOL = ClusterConfig.model_validate(
    {
        "nodes": 4,
        "gpu_count": 8,
        "gpu_steps": {"cpu": "16", "memory": "128Gi"},
        "queue": "gpus",
        "jobs": {"priority": "high"},
        "node_selector": {"pool": "a100"},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"operator": "Exists"},
        ],
    }
)
TAINTS = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists"}]


def fields(version: str) -> set[str]:
    return set(schema_of(version)["properties"]["spec"]["properties"])


def published(name: str) -> Any:
    """Return the schema in a published CustomResourceDefinition."""
    text = crd_file(name).read_text(encoding="utf-8")
    return yaml.load(text, yaml.CSafeLoader)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("config", [POOL, ClusterConfig(nodes=2, gpu_count=0)], ids=["pool", "plain"])
def test_manifest_is_valid_for_each_trainer(version: str, config: ClusterConfig) -> None:
    assert problems(schema_of(version), train_job(REQUEST, config, fields(version))) == []


def test_manifest_is_valid_by_the_published_definition() -> None:
    schema = published("trainer_trainjobs.yaml")
    assert problems(schema, train_job(REQUEST, POOL, schema["properties"]["spec"]["properties"])) == []


def test_runtime_is_valid_by_the_published_definition() -> None:
    """TrainingRuntime has the same fields as ClusterTrainingRuntime, whose definition is available."""
    runtime = yaml.safe_load((ROOT / "k8s/base/training/runtime.yaml").read_text(encoding="utf-8"))
    assert problems(published("trainer_clustertrainingruntimes.yaml"), runtime) == []


def test_job_refers_to_the_runtime_and_patches_its_node_job() -> None:
    runtime = yaml.safe_load((ROOT / "k8s/base/training/runtime.yaml").read_text(encoding="utf-8"))
    spec = train_job(REQUEST, POOL, fields("2.3"))["spec"]
    assert spec["runtimeRef"]["kind"] == runtime["kind"]
    assert spec["runtimeRef"]["name"] == runtime["metadata"]["name"]
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (patched,) = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert patched["name"] == job["name"] == container["name"]
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    assert set(JobsConfig().shared_folders) <= mounts


def test_pods_are_placed_with_the_field_of_each_trainer() -> None:
    place = {"nodeSelector": {"pool": "a100"}, "tolerations": TAINTS}
    specs = {version: train_job(REQUEST, POOL, fields(version))["spec"] for version in VERSIONS}
    assert specs["2.0"]["podSpecOverrides"] == [{"targetJobs": [{"name": "node"}], **place}]
    assert specs["2.0"]["labels"] == REQUEST.labels
    (override,) = specs["2.1"]["podTemplateOverrides"]
    assert (override["spec"], override["metadata"]["labels"]) == (place, REQUEST.labels)
    (patch,) = specs["2.3"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]
    assert (pod["spec"], pod["metadata"]["labels"]) == (place, REQUEST.labels)


def test_unsupported_trainer_is_rejected() -> None:
    with pytest.raises(VicurError, match=r"none of the fields .*Install Kubeflow Trainer 2\.0 to 2\.3"):
        train_job(REQUEST, POOL, {"trainer", "podPatches"})


def test_manifest_has_labels_owner_resources_and_deadline() -> None:
    job = train_job(REQUEST, POOL, fields("2.3"))
    assert job["metadata"] == {
        "name": JOB,
        "namespace": "vicur",
        "labels": {
            "app.kubernetes.io/part-of": "vicur",
            "vicur.dev/run": "run-1",
            "vicur.dev/task": "train-vicur",
            "kueue.x-k8s.io/queue-name": "gpus",
            "kueue.x-k8s.io/priority-class": "high",
        },
        "annotations": {"vicur.dev/work": "0123abcd"},
        "ownerReferences": [OWNER],
    }
    trainer = job["spec"]["trainer"]
    assert trainer["command"] == list(POD_COMMAND)
    assert trainer["numNodes"] == 4
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "8"}
    assert job["spec"]["suspend"] is True
    assert job["spec"]["activeDeadlineSeconds"] == (168 + 1 + 1) * 3600


def test_job_without_a_queue_is_not_suspended() -> None:
    job = train_job(REQUEST, ClusterConfig(nodes=2, jobs=JobsConfig(priority="high")), fields("2.3"))
    assert job["spec"]["suspend"] is False
    assert not any("kueue" in label for label in job["metadata"]["labels"])


def test_older_trainer_gets_no_deadline() -> None:
    assert "activeDeadlineSeconds" not in train_job(REQUEST, POOL, fields("2.1"))["spec"]


def test_job_name_is_unique_to_its_work_and_short_enough_for_pod_names() -> None:
    names = [
        job_name(*work)
        for work in (("r", "train a", "w"), ("r", "train b", "w"), ("s", "train a", "w"), ("r", "train a", "v"))
    ]
    assert len(set(names)) == 4
    assert names[0] == job_name("r", "train a", "w")
    long = job_name("r" * 99, "train Some Very Long_Name of a Method", "w")
    assert len(f"{long}-node-0-511-abcde") <= 63
    assert long.startswith("vicur-train-some-very-long-")


def test_label_values_are_valid_and_distinct() -> None:
    assert label_value("1b4e28ba-2fa1-11d2-883f-0016d3cca427") == "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    assert label_value("a run/with: signs ") == "a-run-with-signs"
    first, second = label_value("x" * 80), label_value("x" * 81)
    assert len(first) == len(second) == 63
    assert first != second


@pytest.mark.parametrize("folder", ["models", "/"])
def test_shared_folder_must_be_an_absolute_path(folder: str) -> None:
    with pytest.raises(VicurError, match="absolute paths"):
        validated(JobsConfig, {"shared_folders": [folder]}, "cluster.jobs")


def test_owner_is_optional() -> None:
    assert "ownerReferences" not in train_job(replace(REQUEST, owner=None), POOL, fields("2.3"))["metadata"]
