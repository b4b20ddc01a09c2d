"""What every step of a pipeline has beside its inputs."""

from __future__ import annotations

from typing import Literal, Protocol

from kfp import dsl, kubernetes

Place = Literal["anywhere", "evaluation", "training"]
"""What a step needs: any machine, a GPU to evaluate on, or the GPUs of a training."""


_TEN_YEARS = "315360000s"
"""How long after its first start a step may be tried again, an hour unless it is said. Argo ends attempts that run then, too, so it is
longer than all attempts with their waits in a queue: each has a time limit of its own."""


class Settle(Protocol):
    """Gives a step what every step of its pipeline has."""

    def __call__(
        self, task: dsl.PipelineTask, *, caching: bool = True, place: Place = "anywhere"
    ) -> dsl.PipelineTask: ...


def settled(
    task: dsl.PipelineTask,
    *,
    retries: int,
    backoff: str,
    caching: bool = True,
    place: Place = "anywhere",  # noqa: ARG001
) -> dsl.PipelineTask:
    """Gives a step retries, caching, the id of its run, and what a cluster's policies know it by.

    Args:
        task: the step.
        retries: how often it is tried again when it fails.
        backoff: pause before the first retry; it doubles with each.
        caching: whether the platform may take its result from an earlier run.
        place: what it needs; here all run where the platform puts them.
    """
    task.set_retry(retries, backoff_duration=backoff, backoff_factor=2.0, backoff_max_duration=_TEN_YEARS)
    task.set_caching_options(caching)
    # Not an argument: the platform's cache would never hit.
    kubernetes.use_field_path_as_env(task, "VICUR_RUN_ID", "metadata.labels['pipeline/runid']")
    # The policies of k8s/base/network go by these.
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "vicur")
    kubernetes.add_pod_label(task, "vicur.dev/task", task.component_spec.name)
    # KFP's backend sets the rest of the restricted profile; which user the image has is the image's business.
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task
