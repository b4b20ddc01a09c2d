"""The training runtimes of jobs with servers, in the Kubernetes API."""

# Apart from the other requests: tests/k8s derives the rights of the pipeline's account from each module's calls.

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from vicur.cluster.jobs.api import KubernetesApi
from vicur.cluster.jobs.names import RUN, TASK
from vicur.cluster.jobs.retries import Json, call_with_retries
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE

_DELETION_POLL_SECONDS = 0.2
_KIND = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainingruntimes"}


class Runtimes:
    """The training runtimes of a namespace."""

    def __init__(self, api: KubernetesApi) -> None:
        from kubernetes.client import CustomObjectsApi

        self._api = api
        self._custom = CustomObjectsApi(api.client)
        self._kind = {**_KIND, "namespace": api.namespace}

    def get(self, name: str) -> Json | None:
        """Return the runtime with this name, if it exists."""
        return call_with_retries(
            lambda: self._custom.get_namespaced_custom_object(
                **self._kind, name=name, _request_timeout=self._api.request_timeout
            ),
            self._api.timing,
        )

    def put(self, manifest: Mapping[str, Any], patience: float) -> Json:
        """Create a runtime, or change the one that an earlier attempt at the same task created to be the same.

        Args:
            patience: seconds to wait for an earlier one that is being deleted.

        Raises:
            VicurError: if that takes longer, or if a runtime with this name belongs to other work. That one is not changed.
        """
        name = manifest["metadata"]["name"]
        started = time.monotonic()
        while (made := self._create(manifest)) is None:
            found = self.get(name)
            if found is not None and not _same_task(found, manifest):
                raise VicurError(
                    "a training runtime with this name exists that belongs to other work. It was not changed.",
                    where=f"TrainingRuntime {self._api.namespace}/{name}",
                    remedy="Delete or rename that runtime, then retry the step.",
                )
            # Of an earlier attempt that was killed before it created its job, or our own if the response was lost.
            if found is not None and "deletionTimestamp" not in found["metadata"]:
                found = self.patch(name, {**manifest, "spec": _merge_patch(found["spec"], manifest["spec"])})
            if found is not None and "deletionTimestamp" not in found["metadata"]:
                return found
            # It goes with the job of an earlier attempt, and would take the new job's servers with it.
            if time.monotonic() - started > patience:
                raise VicurError(
                    f"the training runtime of an earlier attempt is still being deleted after {patience / 60:.2g} minutes.",
                    where=f"TrainingRuntime {self._api.namespace}/{name}",
                    remedy="Look at its finalizers (kubectl get trainingruntimes -o yaml) and at the garbage collector of the cluster.",
                    exit_code=EXIT_CODE,
                    retryable=True,
                )
            time.sleep(min(_DELETION_POLL_SECONDS, self._api.timing.poll))
        return made

    def _create(self, manifest: Mapping[str, Any]) -> Json | None:
        """Create a runtime, or return ``None`` if its name is taken."""
        from kubernetes.client import ApiException

        try:
            return call_with_retries(
                lambda: self._custom.create_namespaced_custom_object(
                    **self._kind,
                    body=dict(manifest),
                    field_validation="Strict",
                    _request_timeout=self._api.request_timeout,
                ),
                self._api.timing,
                absent=(),
                raise_conflicts=True,
            )
        except ApiException:
            return None

    def patch(self, name: str, change: Mapping[str, Any]) -> Json | None:
        """Merge a change into a runtime and return it, or return ``None`` if it does not exist."""
        return call_with_retries(
            lambda: self._custom.patch_namespaced_custom_object(
                **self._kind, name=name, body=dict(change), _request_timeout=self._api.request_timeout
            ),
            self._api.timing,
        )


def _same_task(found: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    labels = [each["metadata"].get("labels") or {} for each in (found, manifest)]
    return all(labels[0].get(label) == labels[1].get(label) for label in (RUN, TASK))


def _merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """Return the JSON merge patch that makes ``old`` the same as ``new``."""
    # A merge keeps the fields that it does not name, and removes those that are null. It replaces lists.
    patch: Json = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        both = isinstance(value, Mapping) and isinstance(old.get(name), Mapping)
        patch[name] = _merge_patch(old[name], value) if both else value
    return patch
