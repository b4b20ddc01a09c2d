"""How Kubernetes writes names and amounts: what it would refuse when a pod is made is refused when a configuration is read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _as_written(value: Any) -> Any:
    """``cpu: 2`` is read as a number, and KFP passes whole numbers as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if whole else str(value)


Cores = Annotated[
    str, BeforeValidator(_as_written), Field(pattern=r"^([1-9][0-9]{0,8}m?|[1-9][0-9]{0,8}\.[0-9]+|0\.[0-9]*[1-9])$")
]
"""Processor cores, and parts of them: ``4``, ``0.5``, ``500m``."""
Memory = Annotated[str, BeforeValidator(_as_written), Field(pattern=r"^[1-9][0-9]{0,14}(Ki|M|Mi|G|Gi|T|Ti)?$")]
"""Bytes: ``16Gi``, ``512Mi``. KFP takes no parts of a unit."""
ObjectName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$")]
"""The name of an object in the cluster; empty for none."""
QueueName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?)?$")]
"""The name of a queue or a priority, which pods carry as the value of a label: no longer than that may be. Empty for none."""
_KEY = r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[str, Field(pattern=rf"^{_KEY}$")]
"""The key of a label: ``gpu``, ``nvidia.com/gpu.product``."""
TaintKey = Annotated[str, Field(pattern=rf"^({_KEY})?$")]
"""The key of a taint; empty for every taint."""
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
"""The value of a label."""
ImageName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/@-]*)?$")]
"""The name of a container image, with its tag or digest; empty for none."""
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(s|m|h)$")]
"""A time as Kubeflow Pipelines writes it: ``30s``, ``5m``, ``2h``."""
