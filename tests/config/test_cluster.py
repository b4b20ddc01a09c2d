"""The section ``cluster`` rejects names and amounts that Kubernetes would reject when it creates a pod."""

from __future__ import annotations

from typing import Any

import pytest

from vicur.config.cluster import ClusterConfig
from vicur.config.validation import validated
from vicur.errors import VicurError


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"backoff": "999999999h"}, "backoff"),
        ({"step_timeout_hours": 10**8}, "step_timeout_hours"),
        ({"image": "registry.example.com/vicur python"}, "image"),
        ({"queue": "q" * 64}, "queue"),
        ({"jobs": {"priority": "p" * 64}}, "jobs.priority"),
        ({"jobs": {"runtime": "Vicur_Torch"}}, "jobs.runtime"),
        ({"node_selector": {"gpu": "NVIDIA H100"}}, "node_selector.gpu"),
        ({"node_selector": {"a b": "x"}}, "each name in node_selector"),
        ({"steps": {"cpu": True}}, "steps.cpu"),
        ({"steps": {"cpu": 0}}, "steps.cpu"),
        ({"steps": {"cpu": 0.0}}, "steps.cpu"),
        ({"steps": {"cpu": float("inf")}}, "steps.cpu"),
        ({"steps": {"cpu": "4Gi"}}, "steps.cpu"),
        ({"steps": {"memory": "1.5Gi"}}, "steps.memory"),
        ({"gpu_steps": {"memory": "800k"}}, "gpu_steps.memory"),
        ({"steps": {"cpu": float("nan")}}, "steps.cpu"),
        ({"steps": {"cpu": "1", "cpu_limit": "500m"}}, "steps"),
        # The volume of a secret, a ConfigMap or a claim has its name, and KFP merges volumes of one name.
        ({"secrets": {"storage": "vicur.s3"}}, "secrets.storage"),
        ({"endpoints": "e" * 64}, "endpoints"),
        ({"models_claim": "models.v2"}, "models_claim"),
        ({"tolerations": [{"key": "no key", "operator": "Exists"}]}, "tolerations[0].key"),
        ({"tolerations": [{"key": "gpu", "value": "no value"}]}, "tolerations[0].value"),
    ],
)
def test_a_name_or_amount_that_kubernetes_rejects_is_rejected(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(VicurError) as error:
        validated(ClusterConfig, settings, "cluster")
    assert str(error.value).startswith(f"cluster: {names}")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (
            {"secrets": {"storage": "vicur"}, "endpoints": "vicur"},
            "'vicur' is the name of the ConfigMap of endpoints and of a secret",
        ),
        (
            {"secrets": {"hub": "weights"}, "data_claims": ["weights"]},
            "'weights' is the name of a claim and of a secret",
        ),
        ({"models_claim": "shm"}, "'shm' is the name of a claim and of a volume of the platform"),
    ],
)
def test_volumes_of_one_name_are_rejected(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(VicurError, match=names):
        validated(ClusterConfig, settings, "cluster")


def test_one_secret_may_serve_several_purposes() -> None:
    assert validated(ClusterConfig, {"secrets": {"storage": "all", "tracking": "all", "cues": ""}}, "cluster")


@pytest.mark.parametrize(("given", "written"), [(2, "2"), (2.0, "2"), (1.5, "1.5"), (0.5, "0.5"), ("500m", "500m")])
def test_an_amount_may_be_a_number(given: Any, written: str) -> None:
    assert ClusterConfig.model_validate({"steps": {"cpu": given}}).steps.cpu == written


def test_labels_of_cloud_providers_are_accepted() -> None:
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
        "x": "",
    }
    assert ClusterConfig.model_validate({"node_selector": labels}).node_selector == labels
