"""Types of Kubernetes names and quantities, so that an invalid one is refused with the configuration and not when a pod is created."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vicur.config.allowed import Form


def _as_written(value: Any) -> Any:
    # YAML reads "cpu: 2" as a number, and KFP passes whole numbers as floats.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if whole else str(value)


Cores = Annotated[
    str,
    BeforeValidator(_as_written),
    Field(pattern=r"^([1-9][0-9]{0,8}m?|[1-9][0-9]{0,8}\.[0-9]+|0\.[0-9]*[1-9])$"),
    Form("a number of CPU cores, such as 4, 0.5 or 500m"),
]
"""Number of CPU cores: ``4``, ``0.5``, ``500m``."""


def cores(amount: str) -> float:
    """Return an amount of CPU as a number of cores."""
    return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)


Memory = Annotated[
    str,
    BeforeValidator(_as_written),
    Field(pattern=r"^[1-9][0-9]{0,14}(Ki|M|Mi|G|Gi|T|Ti)?$"),
    Form("an amount of memory in whole units, such as 16Gi or 512Mi"),
]
"""Number of bytes: ``16Gi``, ``512Mi``. KFP refuses fractions of a unit."""
ObjectName = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"),
    Form("the name of a Kubernetes object: lower-case letters, digits, dashes and dots"),
]
"""Name of an object in the cluster; empty for none."""
VolumeName = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"),
    Form("the name of a volume: at most 63 lower-case letters, digits and dashes, without dots"),
]
"""Name of a secret, ConfigMap or claim that pods mount; empty for none. Kubeflow Pipelines gives the volume the same name."""
VOLUMES_OF_THE_PLATFORM = (
    *("kfp-launcher", "kfp-workspace", "ca-bundle", "shm"),
    *("gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch", "dot-cache-scratch", "dot-config-scratch"),
    *("var-run-argo", "tmp-dir-argo", "input-artifacts", "argo-staging"),
)
"""Names of the volumes that pods have from Kubeflow Pipelines, from Argo, and for shared memory."""
QueueName = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?)?$"),
    Form("the name of a Kubernetes object: at most 63 lower-case letters, digits, dashes and dots"),
]
"""Name of a queue or a priority; empty for none. Pods have it as the value of a label, which limits its length."""
_KEY = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[
    str, Field(pattern=rf"^{_KEY}$"), Form("the key of a Kubernetes label, such as nvidia.com/gpu.product")
]
"""Key of a label: ``gpu``, ``nvidia.com/gpu.product``."""
TaintKey = Annotated[str, Field(pattern=rf"^({_KEY})?$"), Form("the key of a Kubernetes taint, such as nvidia.com/gpu")]
"""Key of a taint; empty for every taint."""
LabelValue = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"),
    Form("the value of a Kubernetes label: at most 63 letters, digits, dashes, dots and underscores"),
]
"""Value of a label."""
ImageName = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/@-]*)?$"),
    Form("the name of a container image, such as registry.example.com/vicur-python:0.1.0"),
]
"""Name of a container image with its tag or digest; empty for none."""
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h)$"), Form("a duration, such as 30s, 5m or 2h")]
"""A duration as Kubeflow Pipelines writes it: ``30s``, ``5m``, ``2h``."""
