"""The Kubeflow Model Registry: it answers, and accepts the token of the pod."""

from __future__ import annotations

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_only_in_cluster
from vicur.cluster.preflight.registry import check
from vicur.registry.kubeflow_api import check_reachable


@check("model registry", topic="services", when=lambda target: target.needs.model_registry is not None)
def _model_registry(target: Target) -> Finding:
    address = target.needs.model_registry or ""
    return unless_only_in_cluster(target, address, lambda: model_registry(address))


def model_registry(address: str) -> Finding:
    """Check that the registry lists its models.

    Raises:
        VicurError: if it does not.
    """
    check_reachable(address)
    return Finding("ok", f"the Kubeflow Model Registry at {address} lists its models")
