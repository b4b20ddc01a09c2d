"""Settings that every task of a pipeline gets besides its inputs."""

from __future__ import annotations

from typing import Protocol

from kfp import dsl, kubernetes

from vicur.stage.table import Needs

# KFP's default is one hour from the first attempt's start, after which a training would never be retried. Argo also ends attempts that
# are still running by then, so this exceeds all attempts with their waits in a queue. Each attempt has its own time limit.
_TEN_YEARS = "315360000s"

PREFLIGHT = Needs(models=True, hub=True, cue_key=True, cached=False)
EXIT = Needs(webhook=True, cached=False)


class ConfigureTask(Protocol):
    """Gives a task the settings that every task of its pipeline has."""

    def __call__(self, task: dsl.PipelineTask, needs: Needs) -> dsl.PipelineTask: ...


def configure_task(task: dsl.PipelineTask, needs: Needs, *, retries: int, backoff: str) -> dsl.PipelineTask:
    """Set retries, caching, the run's id, labels and the security context of a task, and return it."""
    task.set_retry(retries, backoff_duration=backoff, backoff_factor=2.0, backoff_max_duration=_TEN_YEARS)
    task.set_caching_options(needs.cached)
    # Network policies in k8s/base/network select pods by these labels.
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "vicur")
    kubernetes.add_pod_label(task, "vicur.dev/task", task.component_spec.name)
    # KFP's backend sets the rest of the restricted profile. The image decides on the user.
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task
