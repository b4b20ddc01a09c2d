"""What the launcher asks of the API server: few requests, each tried again while the server is in trouble.

Objects are plain dictionaries, as the server writes them. A request that the server refuses fails at once, with what to do about it.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from vicur.cluster.jobs.manifest import GROUP, PLURAL, VERSION
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

log = logging.getLogger(__name__)

T = TypeVar("T")
Json = dict[str, Any]

_IN_TROUBLE = (429, 500, 502, 503, 504)
_CONFLICT = 409
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Pace:
    """How often the server is asked.

    Attributes:
        tick: seconds after which is looked again where nothing changes.
        first_wait: seconds before a failed request is made again; they double with each failure.
        longest_wait: the most that they come to.
        patience: seconds that the server may be in trouble.
        goodbye: seconds that the removal of a job is waited for.
        silence: seconds without a line of the log after which it is asked for again.
    """

    tick: float = 10.0
    first_wait: float = 1.0
    longest_wait: float = 30.0
    patience: float = 600.0
    goodbye: float = 20.0
    silence: float = 300.0


class Api:
    """The part of a cluster's API that the launcher uses, in one namespace.

    Args:
        client: the Kubernetes client.
        namespace: the namespace.
        pace: how often the server is asked.
    """

    def __init__(self, client: ApiClient, namespace: str, pace: Pace | None = None) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        self.namespace = namespace
        self.pace = pace or Pace()
        self._client = client
        self._core = CoreV1Api(client)
        self._custom = CustomObjectsApi(client)
        self._kind = {"group": GROUP, "version": VERSION, "plural": PLURAL, "namespace": namespace}

    def job_fields(self) -> frozenset[str]:
        """Fields of a TrainJob's ``spec``, from the schema that the server publishes to everybody who may log in.

        Raises:
            VicurError: where the server has no TrainJobs.
        """
        path = f"/openapi/v3/apis/{GROUP}/{VERSION}"
        published = self._asked(
            lambda: self._client.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
                response_type="object",
                _return_http_data_only=True,
                _request_timeout=self._timeout(),
            )
        )
        for schema in ((published or {}).get("components", {}).get("schemas") or {}).values():
            kinds = [each["kind"] for each in schema.get("x-kubernetes-group-version-kind") or ()]
            if "TrainJob" in kinds:
                return frozenset(schema["properties"]["spec"]["properties"])
        raise VicurError(
            "this cluster has no TrainJobs.",
            where=f"{GROUP}/{VERSION}",
            remedy="Install Kubeflow Trainer 2, or train on one node (cluster.nodes: 1).",
        )

    def job(self, name: str, patience: float | None = None) -> Json | None:
        """The job of this name, if there is one."""
        return self._asked(
            lambda: self._custom.get_namespaced_custom_object(
                **self._kind, name=name, _request_timeout=self._timeout()
            ),
            patience=patience,
        )

    def jobs(self, selector: str) -> list[Json]:
        """Jobs with these labels."""
        listed = self._asked(
            lambda: self._custom.list_namespaced_custom_object(
                **self._kind, label_selector=selector, _request_timeout=self._timeout()
            )
        )
        return list((listed or {}).get("items", []))

    def create(self, manifest: Mapping[str, Any]) -> Json | None:
        """Makes a job, and returns it; none where the name is taken, which it also is where an answer was lost.

        A field that the server does not know is refused by it and not dropped.

        Raises:
            VicurError: where the server refuses.
        """
        from kubernetes.client import ApiException

        try:
            made: Json | None = self._asked(
                lambda: self._custom.create_namespaced_custom_object(
                    **self._kind, body=dict(manifest), field_validation="Strict", _request_timeout=self._timeout()
                ),
                absent=(),
                conflict=True,
            )
        except ApiException:
            return None
        return made

    def patch(self, name: str, change: Mapping[str, Any]) -> Json | None:
        """Merges a change into a job, and returns it; none where it is gone."""
        return self._asked(
            lambda: self._custom.patch_namespaced_custom_object(
                **self._kind, name=name, body=dict(change), _request_timeout=self._timeout()
            )
        )

    def delete(self, name: str, uid: str, patience: float | None = None) -> None:
        """Has a job removed, its pods first. One that is gone, or is another of the same name by now, is left.

        Args:
            name: its name.
            uid: its uid.
            patience: seconds that the server may be in trouble; by default as the pace has it.
        """
        from kubernetes.client import ApiException

        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        try:
            self._asked(
                lambda: self._custom.delete_namespaced_custom_object(
                    **self._kind, name=name, body=options, _request_timeout=self._timeout()
                ),
                patience=patience,
                conflict=True,
            )
        except ApiException as error:
            log.debug("%s is another by now: %s", name, error)

    def pods(self, job: str, patience: float | None = None) -> list[Json]:
        """The pods of a job, by node."""
        selector = f"jobset.sigs.k8s.io/jobset-name={job}"
        found = self._listed(self._core.list_namespaced_pod, patience, label_selector=selector)
        return sorted(found, key=lambda pod: (node_of(pod), pod["metadata"].get("creationTimestamp") or ""))

    def pod(self, name: str) -> Json | None:
        """The pod of this name, if there is one."""
        return self._asked(
            lambda: self._plain(self._core.read_namespaced_pod(name, self.namespace, _request_timeout=self._timeout()))
        )

    def events(self, selector: str = "") -> list[Json]:
        """Events of the namespace that the field selector names, the latest last."""
        return sorted(self._listed(self._core.list_namespaced_event, None, field_selector=selector), key=_when)

    def tail(self, pod: str, container: str, lines: int) -> str:
        """The last lines of a pod's log; what it says where there is none."""
        from kubernetes.client import ApiException

        try:
            with closing(self.follow(pod, container, lines=lines, follow=False)) as chunks:
                return b"".join(chunks).decode(errors="replace")
        except (ApiException, *_connection_errors()) as error:
            return f"(no log: {getattr(error, 'reason', None) or error})"

    def follow(
        self, pod: str, container: str, *, lines: int | None = None, follow: bool = True
    ) -> Generator[bytes, None, None]:
        """A pod's log as it grows, with a time before each line. It ends with the pod, or where the connection is lost or long silent.

        Raises:
            ApiException: where there is no log yet.
        """
        options: Json = {"timestamps": True} if follow else {}
        if lines is not None:
            options["tail_lines"] = lines
        # A connection whose other end is gone without a word looks like a pod that has nothing to say.
        timeout = (_CONNECT_SECONDS, self.pace.silence) if follow else self._timeout()
        answer = self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=container,
            follow=follow,
            _preload_content=False,
            _request_timeout=timeout,
            **options,
        )
        try:
            yield from answer.stream(decode_content=False)
        finally:
            answer.close()
            answer.release_conn()

    def changes(self, name: str) -> Iterator[Json | None]:
        """A job as it is, again at each change and after each tick at the latest; none once it is gone.

        Whatever ends a watch (a server that restarts, a version that it no longer knows), the job is read again.

        Raises:
            VicurError: where the server is in trouble for too long, or refuses.
        """
        while True:
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
                timeout_seconds=max(1, round(self.pace.tick)),
                _request_timeout=(_CONNECT_SECONDS, self.pace.tick + _CONNECT_SECONDS),
            )
        except (ApiException, json.JSONDecodeError, *_connection_errors()) as error:
            log.debug("watching %s ended: %s", name, error)
        # A server that ends each watch at once is not asked more often than one that keeps them.
        time.sleep(max(0.0, self.pace.first_wait - (time.monotonic() - started)))

    def _listed(self, call: Callable[..., Any], patience: float | None, **selectors: str) -> list[Json]:
        answer = self._asked(
            lambda: self._plain(call(self.namespace, _request_timeout=self._timeout(), **selectors)),
            absent=(),
            patience=patience,
        )
        return list((answer or {}).get("items") or [])

    def _plain(self, model: Any) -> Json:
        plain: Json = self._client.sanitize_for_serialization(model)
        return plain

    def _timeout(self) -> tuple[float, float]:
        return _CONNECT_SECONDS, 3 * _CONNECT_SECONDS

    def _asked(
        self,
        call: Callable[[], Any],
        *,
        absent: tuple[int, ...] = (404,),
        patience: float | None = None,
        conflict: bool = False,
    ) -> Json | None:
        """What the server answers; none where what is asked for is absent.

        Args:
            call: asks it.
            absent: statuses that say so.
            patience: seconds that the server may be in trouble; by default as the pace has it.
            conflict: whether a conflict is the caller's to handle; else somebody was faster, and it is asked again.

        Raises:
            VicurError: where it is in trouble for longer than is waited, or refuses for good.
            ApiException: for a conflict that is the caller's.
        """
        from kubernetes.client import ApiException

        patience = self.pace.patience if patience is None else patience
        until: float | None = None
        wait = self.pace.first_wait
        while True:
            try:
                answer: Json | None = call()
                return answer
            except ApiException as error:
                if error.status in absent:
                    return None
                if error.status == _CONFLICT and conflict:
                    raise
                if error.status not in (*_IN_TROUBLE, _CONFLICT):
                    raise _refused(error) from error
                trouble, asked_for = f"{error.status} {error.reason}", _retry_after(error)
            except _connection_errors() as error:
                trouble, asked_for = str(error), 0.0
            now = time.monotonic()
            until = until or now + patience
            if now >= until:
                raise _unreachable(trouble, patience)
            # Many steps ask the same server: they are not to come back all at once.
            pause = max(asked_for, wait * random.uniform(0.5, 1.0))  # noqa: S311 (no secret, and nothing that is learned)
            # However long the server would have it wait, it is asked once more before it is given up.
            pause = min(pause, until - now)
            log.warning("the Kubernetes API is in trouble (%s): asking again in %.0f s", trouble, pause)
            time.sleep(pause)
            wait = min(2 * wait, self.pace.longest_wait)


def node_of(pod: Mapping[str, Any]) -> int:
    """Number of the node that a pod is."""
    labels, annotations = pod["metadata"].get("labels") or {}, pod["metadata"].get("annotations") or {}
    index = "batch.kubernetes.io/job-completion-index"
    return int(labels.get(index) or annotations.get(index) or 0)


def _when(event: Mapping[str, Any]) -> str:
    """When an event was last seen, in a form that sorts."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _connection_errors() -> tuple[type[Exception], ...]:
    from urllib3.exceptions import HTTPError

    return (HTTPError, OSError)


def _retry_after(error: Any) -> float:
    try:
        return float((error.headers or {}).get("Retry-After") or 0)
    except ValueError:
        return 0.0


def _refused(error: Any) -> VicurError:
    """What to do about a refusal."""
    try:
        reason = json.loads(error.body)["message"]
    except (ValueError, TypeError, KeyError):
        reason = f"{error.status} {error.reason}"
    # An admission webhook, of Kubeflow Trainer or of the cluster's own, also says "forbidden".
    denied = "admission webhook" in reason
    if error.status in (401, 403) and not denied:
        problem = "does not allow it"
        remedy = "Give the step's service account the Role of k8s/base/access/training.yaml."
    elif error.status == 404:
        problem = "has no such place"
        remedy = "Correct the namespace, or install Kubeflow Trainer 2."
    else:
        problem = "refuses it"
        remedy = "Correct the setting that it names, or the training runtime (k8s/base/training)."
    return VicurError(f"the cluster {problem} ({reason}).", where="cluster", remedy=remedy)


def _unreachable(trouble: str, patience: float) -> VicurError:
    return VicurError(
        f"the Kubernetes API has been in trouble for {patience:.0f} s ({trouble}).",
        where="cluster",
        remedy="Given again, the step finds its job, or goes on from the last checkpoint.",
        exit_code=EXIT_CODE,
        retryable=True,
    )
