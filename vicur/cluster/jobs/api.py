"""Requests of the launcher to the Kubernetes API: TrainJobs, pods, logs and events in one namespace.

Objects are plain dictionaries, as the server writes them. Every request is retried while the server is unavailable; a request that
the server rejects fails at once. Both end in a :class:`~vicur.errors.VicurError`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from vicur.cluster.jobs.manifest import GROUP, PLURAL, VERSION
from vicur.cluster.jobs.retries import CONNECT_SECONDS, Json, Timing, call_with_retries, connection_errors
from vicur.errors import VicurError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

log = logging.getLogger(__name__)


class KubernetesApi:
    """The part of the Kubernetes API that the launcher uses, in one namespace."""

    def __init__(self, client: ApiClient, namespace: str, timing: Timing | None = None) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.namespace = namespace
        self.timing = timing or Timing()
        self.client = client
        self._core = CoreV1Api(client)
        self._custom = CustomObjectsApi(client)
        self._kind = {"group": GROUP, "version": VERSION, "plural": PLURAL, "namespace": namespace}

    def job_fields(self) -> frozenset[str]:
        """Return the fields of a TrainJob's ``spec`` in the schema that the server publishes."""
        path = f"/openapi/v3/apis/{GROUP}/{VERSION}"
        # Not the CustomResourceDefinition: only the published schema is readable by every authenticated account.
        published = self._call(
            lambda: self.client.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                response_type="object",
                _return_http_data_only=True,
                _request_timeout=self.request_timeout,
            )
        )
        for schema in ((published or {}).get("components", {}).get("schemas") or {}).values():
            kinds = [each["kind"] for each in schema.get("x-kubernetes-group-version-kind") or ()]
            if "TrainJob" in kinds:
                return frozenset(schema["properties"]["spec"]["properties"])
        raise VicurError(
            "this cluster has no TrainJobs.",
            where=f"{GROUP}/{VERSION}",
            remedy="Install Kubeflow Trainer 2, or train in the step's own pod (cluster.nodes=1, cluster.jobs.always=false).",
        )

    def job(self, name: str, give_up: float | None = None) -> Json | None:
        """Return the TrainJob with this name, if it exists."""
        return self._call(
            lambda: self._custom.get_namespaced_custom_object(
                **self._kind, name=name, _request_timeout=self.request_timeout
            ),
            give_up=give_up,
        )

    def jobs(self, selector: str) -> list[Json]:
        """Return the TrainJobs that match a label selector."""
        response = self._call(
            lambda: self._custom.list_namespaced_custom_object(
                **self._kind, label_selector=selector, _request_timeout=self.request_timeout
            )
        )
        return list((response or {}).get("items", []))

    def create(self, manifest: Mapping[str, Any]) -> Json | None:
        """Create a TrainJob and return it, or return ``None`` if the name exists. It also exists if a response was lost."""
        from kubernetes.client import ApiException

        try:
            created: Json | None = self._call(
                # Strict: by default the server would silently drop fields that it does not know.
                lambda: self._custom.create_namespaced_custom_object(
                    **self._kind, body=dict(manifest), field_validation="Strict", _request_timeout=self.request_timeout
                ),
                absent=(),
                raise_conflicts=True,
            )
        except ApiException:
            return None
        return created

    def patch(self, name: str, change: Mapping[str, Any]) -> Json | None:
        """Merge a change into a TrainJob and return it, or return ``None`` if it does not exist."""
        return self._call(
            lambda: self._custom.patch_namespaced_custom_object(
                **self._kind, name=name, body=dict(change), _request_timeout=self.request_timeout
            )
        )

    def delete(self, name: str, uid: str, give_up: float | None = None) -> None:
        """Delete a TrainJob after its pods. Does nothing if it does not exist or if a new one has taken its name."""
        from kubernetes.client import ApiException

        # Foreground: the job exists until its pods have ended, so that a step can wait for them.
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        try:
            self._call(
                lambda: self._custom.delete_namespaced_custom_object(
                    **self._kind, name=name, body=options, _request_timeout=self.request_timeout
                ),
                give_up=give_up,
                raise_conflicts=True,
            )
        except ApiException as error:
            log.debug("Did not delete %s, which has another uid: %s", name, error)

    def pods(self, job: str, give_up: float | None = None) -> list[Json]:
        """Return the pods of a TrainJob, ordered by node, with those of its servers among them."""
        selector = f"jobset.sigs.k8s.io/jobset-name={job}"
        pods = self._list(self._core.list_namespaced_pod, give_up, label_selector=selector)
        return sorted(pods, key=lambda pod: (node_of(pod), pod["metadata"].get("creationTimestamp") or ""))

    def labeled_pods(self, selector: str) -> list[Json]:
        """Return the pods that match a label selector."""
        return self._list(self._core.list_namespaced_pod, None, label_selector=selector)

    def pod(self, name: str) -> Json | None:
        """Return the pod with this name, if it exists."""
        return self._call(
            lambda: self._plain(
                self._core.read_namespaced_pod(name, self.namespace, _request_timeout=self.request_timeout)
            )
        )

    def events(self, selector: str = "") -> list[Json]:
        """Return the namespace's events that match a field selector, oldest first."""
        return sorted(self._list(self._core.list_namespaced_event, None, field_selector=selector), key=_last_seen)

    def tail(self, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a pod's log, or a message if the log is not available."""
        from kubernetes.client import ApiException

        try:
            with closing(self.follow(pod, container, lines=lines, follow=False)) as chunks:
                return b"".join(chunks).decode(errors="replace")
        except (ApiException, *connection_errors()) as error:
            return f"(no log: {getattr(error, 'reason', None) or error})"

    def follow(
        self, pod: str, container: str, *, lines: int | None = None, follow: bool = True
    ) -> Generator[bytes, None, None]:
        """Yield a pod's log as it grows, each line with its time. Ends with the pod or if the connection is lost or idle.

        Raises:
            ApiException: if the pod has not started.
        """
        options: Json = {"timestamps": True} if follow else {}
        if lines is not None:
            options["tail_lines"] = lines
        # A connection whose other end disappeared looks like a pod that logs nothing. Hence the idle timeout.
        timeout = (CONNECT_SECONDS, self.timing.log_idle) if follow else self.request_timeout
        response = self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=container,
            follow=follow,
            _preload_content=False,
            _request_timeout=timeout,
            **options,
        )
        try:
            yield from response.stream(decode_content=False)
        finally:
            response.close()
            response.release_conn()

    def changes(self, name: str) -> Iterator[Json | None]:
        """Yield a TrainJob now, after each change and at least once per ``timing.poll``; ``None`` once it has been deleted."""
        while True:
            # Read again whenever a watch ends, for whatever reason: the server restarted, or it forgot the version (410).
            job = self.job(name)
            yield job
            if job is None:
                return
            for event in self._watch(name, job["metadata"]["resourceVersion"]):
                yield None if event["type"] == "DELETED" else event["object"]
                if event["type"] == "DELETED":
                    return

    def _watch(self, name: str, version: str) -> Iterator[Json]:
        from kubernetes.client import ApiException
        from kubernetes.watch import Watch

        started = time.monotonic()
        watch = Watch()
        try:
            yield from watch.stream(
                self._custom.list_namespaced_custom_object,
                **self._kind,
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=max(1, round(self.timing.poll)),
                _request_timeout=(CONNECT_SECONDS, self.timing.poll + CONNECT_SECONDS),
            )
        except (ApiException, json.JSONDecodeError, *connection_errors()) as error:
            log.debug("The watch of %s ended: %s", name, error)
        # Without this pause, a server that ends each watch immediately would be flooded with requests.
        time.sleep(max(0.0, self.timing.first_retry - (time.monotonic() - started)))

    def _list(self, call: Callable[..., Any], give_up: float | None, **selectors: str) -> list[Json]:
        response = self._call(
            lambda: self._plain(call(self.namespace, _request_timeout=self.request_timeout, **selectors)),
            absent=(),
            give_up=give_up,
        )
        return list((response or {}).get("items") or [])

    def _call(self, call: Callable[[], Any], **options: Any) -> Json | None:
        return call_with_retries(call, self.timing, **options)

    def _plain(self, model: Any) -> Json:
        plain: Json = self.client.sanitize_for_serialization(model)
        return plain

    @property
    def request_timeout(self) -> tuple[float, float]:
        return CONNECT_SECONDS, 3 * CONNECT_SECONDS


def node_of(pod: Mapping[str, Any]) -> int:
    """Return the index of the training node that a pod runs."""
    labels, annotations = pod["metadata"].get("labels") or {}, pod["metadata"].get("annotations") or {}
    # Kubernetes before 1.28 sets the annotation only.
    index = "batch.kubernetes.io/job-completion-index"
    return int(labels.get(index) or annotations.get(index) or 0)


def role_of(pod: Mapping[str, Any]) -> str:
    """Return the role of a job that a pod belongs to: ``node``, or the name of its servers."""
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("jobset.sigs.k8s.io/replicatedjob-name") or "node")


def _last_seen(event: Mapping[str, Any]) -> str:
    # RFC 3339 times in UTC sort as strings. Which of the three fields is set depends on who emitted the event.
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
