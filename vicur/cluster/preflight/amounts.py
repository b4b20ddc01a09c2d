"""Amounts of resources: what pods request, and what nodes, quotas and queues offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from vicur.config.preflight import StepRequest

Amounts = Mapping[str, Decimal]
"""Amounts by resource (``cpu``, ``memory``, ``nvidia.com/gpu``), in cores, bytes and pieces."""
_MIB, _GIB = Decimal(2**20), Decimal(2**30)


def parsed(quantities: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """Parse the quantities of a Kubernetes object."""
    from kubernetes.utils import parse_quantity

    return {name: parse_quantity(each) for name, each in (quantities or {}).items()}


def requested(step: StepRequest) -> dict[str, Decimal]:
    """Return what one pod of a step requests."""
    gpus = {step.gpu_type: step.gpus} if step.gpus else {}
    return parsed({"cpu": step.cpu, "memory": step.memory, **gpus})


def limited(step: StepRequest) -> dict[str, Decimal]:
    """Return the limits of one pod of a step."""
    return {**requested(step), **parsed({"cpu": step.cpu_limit})}


def total(amounts: Iterable[Amounts]) -> dict[str, Decimal]:
    """Add amounts."""
    sums: dict[str, Decimal] = {}
    for each in amounts:
        for name, amount in each.items():
            sums[name] = sums.get(name, Decimal(0)) + amount
    return sums


def times(amounts: Amounts, count: int) -> dict[str, Decimal]:
    """Multiply amounts."""
    return {name: amount * count for name, amount in amounts.items()}


def lacking(needed: Amounts, offered: Amounts) -> list[str]:
    """Return the resources of which less is offered than needed."""
    return [name for name, amount in needed.items() if offered.get(name, Decimal(0)) < amount]


def pod_requests(pod: Any) -> dict[str, Decimal]:
    """Return what a pod (``V1Pod``) requests of its node."""
    together = total(parsed(getattr(each.resources, "requests", None)) for each in pod.spec.containers)
    # Containers that run before the others need their amounts only then. Sidecars (restart policy Always) keep running.
    for each in pod.spec.init_containers or ():
        own = parsed(getattr(each.resources, "requests", None))
        if getattr(each, "restart_policy", None) == "Always":
            together = total((together, own))
        else:
            together = {
                name: max(together.get(name, Decimal(0)), own.get(name, Decimal(0))) for name in {*together, *own}
            }
    return total((together, parsed(pod.spec.overhead)))


def amount_text(name: str, amount: Decimal) -> str:
    """Write an amount as a person would: ``200m CPU``, ``2500Mi of memory``, ``15.2Gi of memory``, ``8 nvidia.com/gpu``."""
    if name == "memory":
        # Round down: a limit that is set to the number must fit.
        size = f"{int(amount / _MIB)}Mi" if amount < 10 * _GIB else f"{int(amount / _GIB * 10) / 10:g}Gi"
        return f"{size} of memory"
    if name == "cpu":
        return f"{int(amount * 1000)}m CPU" if amount < 1 else f"{int(amount * 100) / 100:g} CPU"
    return f"{int(amount)} {name}"


def amounts_text(amounts: Amounts, names: Iterable[str] = ("cpu", "memory")) -> str:
    """Write the amounts of some resources."""
    return " and ".join(amount_text(name, amounts.get(name, Decimal(0))) for name in names)


def steps_text(step: StepRequest) -> str:
    """Return the names of a request's steps, for a sentence."""
    return ", ".join(step.steps)
