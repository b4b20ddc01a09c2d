"""What the pods of an overlay request of the cluster as long as it is installed."""

from __future__ import annotations

from collections import Counter

from tests.k8s.admission import quantity
from tests.k8s.render import Manifest

_SERVICES = ("Deployment", "StatefulSet")


def total_requests(manifests: list[Manifest]) -> dict[str, float]:
    """Return the requested CPUs, GiB of memory and GPUs of all services. Jobs end, and steps are not part of an overlay."""
    found: Counter[str] = Counter()
    for service in (m for m in manifests if m["kind"] in _SERVICES):
        for container in service["spec"]["template"]["spec"]["containers"]:
            for name, text in container["resources"]["requests"].items():
                found[name] += service["spec"]["replicas"] * (quantity(text) or 0)
    return {"CPU": found["cpu"], "GiB": found["memory"] / 1024**3, "GPU": found["nvidia.com/gpu"]}


def requests_of(manifests: list[Manifest]) -> str:
    """Return the total as text: ``0.35 CPU, 1.25 GiB``."""
    return ", ".join(f"{value:g} {unit}" for unit, value in total_requests(manifests).items() if value)
