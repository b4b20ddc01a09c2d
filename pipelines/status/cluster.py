"""Queues, and what waits for what, from Kubernetes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vicur_pipelines.status.report import BlockedRow, QueueRow

from vicur.cluster.connection import ClusterConnection
from vicur.cluster.jobs.names import PART_OF, QUEUE, RUN, TASK
from vicur.cluster.pods import RUN_LABEL
from vicur.cluster.preflight.api_groups import KUEUE, TRAINER, ApiGroup, preferred_version, served_versions
from vicur.errors import VicurError
from vicur.redaction import redacted

Json = Mapping[str, Any]
_FORBIDDEN, _NOT_FOUND = 403, 404


class ClusterState:
    """Reads the state of a namespace."""

    def __init__(self, namespace: str, connection: ClusterConnection | None = None) -> None:
        self._namespace, self._connection = namespace, connection or ClusterConnection()

    def queues(self) -> list[QueueRow]:
        """Return the LocalQueues of the namespace with the usage of their ClusterQueues.

        Raises:
            VicurError: if there is no cluster, no Kueue, or no right to read its queues.
        """
        version = self._version(KUEUE)
        listed = self._list(KUEUE, version, "localqueues")
        return [self._queue(version, each) for each in listed]

    def blocked(self) -> list[BlockedRow]:
        """Return pods that are pending, workloads that Kueue has not admitted, and TrainJobs that are suspended.

        Raises:
            VicurError: if there is no cluster, or no right to list the namespace's pods.
        """
        waiting = {row.name: row for row in self._optional(lambda: self._workloads())}
        rows = [row for row in map(_pending_pod, self._pods()) if row is not None]
        return [*rows, *waiting.values(), *self._optional(lambda: self._suspended(waiting))]

    def _workloads(self) -> list[BlockedRow]:
        found = self._list(KUEUE, self._version(KUEUE), "workloads")
        return [row for row in map(_waiting_workload, found) if row is not None]

    def _suspended(self, explained: Mapping[str, BlockedRow]) -> list[BlockedRow]:
        jobs = self._list(TRAINER, self._version(TRAINER), "trainjobs")
        return [
            _suspended_job(job)
            for job in jobs
            if job["spec"].get("suspend") and job["metadata"]["name"] not in explained
        ]

    def _optional(self, read: Callable[[], list[BlockedRow]]) -> list[BlockedRow]:
        try:
            return read()
        except VicurError:
            # Kueue and Trainer are optional, and so is the right to read their objects.
            return []

    def _queue(self, version: str, local: Json) -> QueueRow:
        name = local["spec"].get("clusterQueue", "")
        status = local.get("status") or {}
        return QueueRow(
            local["metadata"]["name"],
            name,
            int(status.get("pendingWorkloads") or 0),
            int(status.get("admittedWorkloads") or 0),
            self._usage(version, name),
        )

    def _usage(self, version: str, name: str) -> tuple[str, ...]:
        from kubernetes.client import ApiException, CustomObjectsApi

        api = CustomObjectsApi(self._connection.api())
        try:
            queue = self._connection.call(api.get_cluster_custom_object, KUEUE.name, version, "clusterqueues", name)
        except ApiException:
            # Cluster-wide objects need another right.
            return ()
        return usage_texts(queue)

    def _pods(self) -> list[Json]:
        from kubernetes.client import ApiException, CoreV1Api

        api = self._connection.api()
        try:
            listed = self._connection.call(
                CoreV1Api(api).list_namespaced_pod, self._namespace, field_selector="status.phase=Pending"
            )
        except ApiException as error:
            raise self._refused(error.status, "pods") from error
        return [dict(api.sanitize_for_serialization(pod)) for pod in listed.items]

    def _version(self, group: ApiGroup) -> str:
        from kubernetes.client import ApiException

        try:
            version = preferred_version(served_versions(self._connection).get(group.name, ()), group)
        except ApiException as error:
            raise self._refused(error.status, "API groups") from error
        if version is None:
            raise VicurError(f"the cluster has no {group.product}.", remedy=f"It is needed only for {group.purpose}.")
        return version

    def _list(self, group: ApiGroup, version: str, plural: str) -> list[Json]:
        from kubernetes.client import ApiException, CustomObjectsApi

        api = CustomObjectsApi(self._connection.api())
        try:
            found = self._connection.call(
                api.list_namespaced_custom_object, group.name, version, self._namespace, plural
            )
        except ApiException as error:
            raise self._refused(error.status, plural) from error
        return list(found.get("items") or ())

    def _refused(self, status: int, kind: str) -> VicurError:
        return VicurError(
            f"the {kind} of the namespace {self._namespace} cannot be listed (HTTP {status}).",
            remedy=f"Try 'kubectl auth can-i list {kind} -n {self._namespace}'.",
        )


def usage_texts(cluster_queue: Json) -> tuple[str, ...]:
    """Return what is used of each resource of a ClusterQueue, over all its flavors."""
    quotas: dict[str, list[str]] = {}
    for group in cluster_queue.get("spec", {}).get("resourceGroups") or ():
        for flavor in group.get("flavors") or ():
            for resource in flavor.get("resources") or ():
                quotas.setdefault(resource["name"], []).append(str(resource.get("nominalQuota", "0")))
    used: dict[str, list[str]] = {}
    for flavor in (cluster_queue.get("status") or {}).get("flavorsUsage") or ():
        for resource in flavor.get("resources") or ():
            used.setdefault(resource["name"], []).append(str(resource.get("total", "0")))
    return tuple(
        f"{name} {_total(name, used.get(name, []))} of {_total(name, quota)}" for name, quota in quotas.items()
    )


def _total(resource: str, amounts: Iterable[str]) -> str:
    from kubernetes.utils import parse_quantity

    total = sum(parse_quantity(amount) for amount in amounts)
    if resource == "memory":
        return f"{total / 2**30:.0f}Gi"
    return f"{float(total):g}"


def _pending_pod(pod: Json) -> BlockedRow | None:
    """Return the row of a pod of ours or of a run, or ``None`` for any other."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(PART_OF) != "vicur" and RUN_LABEL not in labels:
        return None
    status = pod.get("status") or {}
    reasons = [
        each for each in status.get("conditions") or () if each["type"] == "PodScheduled" and each["status"] == "False"
    ]
    reasons += [
        waiting
        for each in status.get("containerStatuses") or ()
        if (waiting := (each.get("state") or {}).get("waiting")) and waiting.get("reason") != "PodInitializing"
    ]
    if not reasons:
        # It has just been created.
        return None
    run_id = labels.get(RUN_LABEL) or labels.get(RUN, "")
    return BlockedRow("Pod", pod["metadata"]["name"], _reason(reasons[0]), run_id, labels.get(TASK, ""))


def _waiting_workload(workload: Json) -> BlockedRow | None:
    conditions = {each["type"]: each for each in (workload.get("status") or {}).get("conditions") or ()}
    if any(conditions.get(kind, {}).get("status") == "True" for kind in ("Admitted", "Finished")):
        return None
    owners = workload["metadata"].get("ownerReferences") or ()
    owner = owners[0] if owners else {"kind": "Workload", "name": workload["metadata"]["name"]}
    queue = (workload.get("spec") or {}).get("queueName", "")
    why = conditions.get("QuotaReserved") or conditions.get("Admitted") or {}
    reason = f"waits in the queue {queue}" + (f": {redacted(why['message'])}" if why.get("message") else "")
    return BlockedRow(owner["kind"], owner["name"], reason)


def _suspended_job(job: Json) -> BlockedRow:
    labels = job["metadata"].get("labels") or {}
    queue = labels.get(QUEUE)
    reason = f"suspended, waits in the queue {queue}" if queue else "suspended"
    return BlockedRow("TrainJob", job["metadata"]["name"], reason, labels.get(RUN, ""), labels.get(TASK, ""))


def _reason(condition: Json) -> str:
    # A message of Kubernetes may quote a command line or an address.
    return redacted(": ".join(filter(None, (condition.get("reason"), condition.get("message")))))
