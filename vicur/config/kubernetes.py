"""How Kubernetes writes names and amounts: what it would refuse when a pod is made is refused when a configuration is read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vicur.config.allowed import Form


def _as_written(value: Any) -> Any:
    """``cpu: 2`` is read as a number, and KFP passes whole numbers as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if whole else str(value)


Cores = Annotated[
    str,
    BeforeValidator(_as_written),
    Field(pattern=r"^([1-9][0-9]{0,8}m?|[1-9][0-9]{0,8}\.[0-9]+|0\.[0-9]*[1-9])$"),
    Form("a number of processor cores, such as 4, 0.5 or 500m"),
]
"""Processor cores, and parts of them: ``4``, ``0.5``, ``500m``."""
Memory = Annotated[
    str,
    BeforeValidator(_as_written),
    Field(pattern=r"^[1-9][0-9]{0,14}(Ki|M|Mi|G|Gi|T|Ti)?$"),
    Form("an amount of memory in whole units, such as 16Gi or 512Mi"),
]
"""Bytes: ``16Gi``, ``512Mi``. KFP takes no parts of a unit."""
ObjectName = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"),
    Form("the name of a Kubernetes object: lower-case letters, digits, dashes and dots"),
]
"""The name of an object in the cluster; empty for none."""
QueueName = Annotated[
    str,
    Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?)?$"),
    Form("the name of a Kubernetes object: at most 63 lower-case letters, digits, dashes and dots"),
]
"""The name of a queue or a priority, which pods carry as the value of a label: no longer than that may be. Empty for none."""
_KEY = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[
    str, Field(pattern=rf"^{_KEY}$"), Form("the key of a Kubernetes label, such as nvidia.com/gpu.product")
]
"""The key of a label: ``gpu``, ``nvidia.com/gpu.product``."""
TaintKey = Annotated[str, Field(pattern=rf"^({_KEY})?$"), Form("the key of a Kubernetes taint, such as nvidia.com/gpu")]
"""The key of a taint; empty for every taint."""
LabelValue = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"),
    Form("the value of a Kubernetes label: at most 63 letters, digits, dashes, dots and underscores"),
]
"""The value of a label."""
ImageName = Annotated[
    str,
    Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/@-]*)?$"),
    Form("the name of a container image, such as registry.example.com/vicur-python:0.1.0"),
]
"""The name of a container image, with its tag or digest; empty for none."""
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h)$"), Form("a duration, such as 30s, 5m or 2h")]
"""A time as Kubeflow Pipelines writes it: ``30s``, ``5m``, ``2h``."""
