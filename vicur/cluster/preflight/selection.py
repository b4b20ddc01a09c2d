"""Which checks there are: for a laptop, and for a run in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vicur.cluster.preflight import (
    access,
    buckets,
    cue_endpoint,
    datasets,
    interfaces,
    machine,
    models,
    pool,
    room,
    tracking,
)
from vicur.cluster.preflight.finding import Check, Finding, Scope
from vicur.cluster.preflight.link import Link, NoClusterError
from vicur.config.preflight import GpuPool, PreflightConfig
from vicur.config.tracking import TrackingConfig

_RUN_HERE = ("torch", "transformers", "kfp", "mlflow")
_BUCKET = "Set checkpoints to s3://bucket/prefix"
_RUN_THERE = ("kfp", "kfp-kubernetes", "kubernetes", "mlflow-skinny", "boto3")


def laptop_checks(config: PreflightConfig, settings: TrackingConfig, *, cluster: bool = False) -> list[Check]:
    """What runs on this machine need, and what starting one in a cluster needs here.

    Args:
        config: what a run needs.
        settings: where it is tracked.
        cluster: whether the run is one in a cluster, whose steps see other folders than this machine has.
    """
    return [
        Check("python", "laptop", machine.python_release),
        Check("packages", "laptop", partial(machine.packages, _RUN_HERE, "local")),
        Check("disk", "laptop", partial(machine.disk, config.scratch, config.free_gib)),
        *_inputs(config, "laptop", _or_in_the_cluster if cluster else _as_found),
        Check("tracking", "laptop", partial(tracking.tracking, settings)),
        Check("packages for a cluster", "cluster", partial(machine.packages, _RUN_THERE, "local")),
        Check("images", "cluster", machine.container_engine),
        Check("tracking for all", "cluster", partial(tracking.shared_tracking, settings)),
        *([] if config.buckets else [Check("buckets", "cluster", _no_bucket)]),
        *cluster_checks(config, Link()),
    ]


def step_checks(config: PreflightConfig, settings: TrackingConfig) -> list[Check]:
    """What a pipeline's first step looks at: the pods' own surroundings."""
    return [
        Check("disk", "cluster", partial(machine.disk, config.scratch, config.free_gib)),
        *_inputs(config, "cluster", _as_found),
        Check("tracking", "cluster", partial(tracking.tracking, settings)),
        Check("tracking for all", "cluster", partial(tracking.shared_tracking, settings)),
        *([] if config.buckets else [Check("buckets", "cluster", _retries_begin_again)]),
        *cluster_checks(config, Link()),
    ]


def _inputs(config: PreflightConfig, scope: Scope, judged: Callable[[str, Finding], Finding]) -> list[Check]:
    """Models and dataset; ``judged`` has the last word on what is found of each, by its place."""
    looks = {f"model {each}": (each, partial(models.model, each)) for each in config.models}
    data = config.dataset
    if data is not None:
        place = next(iter(data.inputs().values()), "")
        looks["dataset"] = (str(place), partial(datasets.dataset, data))
    return [Check(name, scope, partial(_judged, judged, *look)) for name, look in looks.items()]


def _judged(judged: Callable[[str, Finding], Finding], place: str, look: Callable[[], Finding]) -> Finding:
    return judged(place, look())


def _as_found(_: str, finding: Finding) -> Finding:
    return finding


def _or_in_the_cluster(place: str, finding: Finding) -> Finding:
    """A folder that this machine does not have may well be one of a volume that steps mount."""
    if finding.status != "failed" or not place.startswith("/") or Path(place).exists():
        return finding
    return Finding(
        "warning",
        f"{place} is not on this machine; whether steps see it is not known",
        f"The run's first step looks there. {finding.remedy}",
    )


def cluster_checks(config: PreflightConfig, link: Link) -> list[Check]:
    """What a cluster, and what is around it, must have for a run that is set so."""
    wanted = [Check(f"bucket {each}", "cluster", partial(buckets.bucket, each)) for each in config.buckets]
    if config.cue_endpoint is not None:
        look = partial(cue_endpoint.cue_endpoint, config.cue_endpoint, config.cue_model, config.cue_key_variable)
        wanted.append(Check("cue endpoint", "cluster", look))
    wanted.append(Check("cluster", "cluster", partial(interfaces.release, link)))
    wanted.append(_asked("pipelines", partial(interfaces.interface, link, interfaces.ARGO), "Kubeflow Pipelines"))
    if config.pool is not None:
        wanted += _pool_checks(config, config.pool, link)
    if config.trainer or (config.pool is not None and config.pool.nodes > 1):
        wanted += _trainer_checks(config.namespace, link)
    if config.queue is not None:
        look = partial(room.queue, link, config.namespace, config.queue)
        wanted.append(_asked("queue", look, f"Kueue, and its LocalQueue {config.queue} in {config.namespace}"))
    return wanted


def _pool_checks(config: PreflightConfig, nodes: GpuPool, link: Link) -> list[Check]:
    labels = f" labelled {nodes.node_selector}" if nodes.node_selector else ""
    return [
        _asked(
            "gpu pool",
            partial(pool.gpu_pool, link, nodes),
            f"{nodes.nodes} node(s){labels} with {nodes.gpus} {nodes.resource} each",
        ),
        _asked(
            "quota",
            partial(room.quota, link, config.namespace, nodes),
            f"the namespace {config.namespace}, with room for {nodes.gpus * nodes.nodes} {nodes.resource}",
        ),
    ]


def _trainer_checks(namespace: str, link: Link) -> list[Check]:
    rights = "the right to launch trainings (k8s/base/access)"
    return [
        _asked("trainer", partial(interfaces.interface, link, interfaces.TRAINER), "Kubeflow Trainer 2"),
        _asked("access", partial(access.access, link, namespace), rights),
    ]


def _asked(name: str, look: Callable[[], Finding], needed: str) -> Check:
    """A check that asks the cluster. Where there is none, which is a finding of its own, it says what is needed there.

    Args:
        name: of the check.
        look: looks.
        needed: what a cluster must have to pass.
    """

    def looked() -> Finding:
        try:
            return look()
        except NoClusterError:
            return Finding(
                "failed",
                f"not known without a cluster; it needs {needed}",
                "docs/kubernetes.md says how a platform team sets it up.",
            )

    return Check(name, "cluster", looked)


def _retries_begin_again() -> Finding:
    return Finding(
        "warning", "a training that is tried again begins again: no place on S3 keeps its checkpoints", f"{_BUCKET}."
    )


def _no_bucket() -> Finding:
    return Finding(
        "failed",
        "no place on S3 is named that trainings keep their checkpoints in",
        f"{_BUCKET}, or add --need 'buckets=[s3://bucket/prefix]'.",
    )
