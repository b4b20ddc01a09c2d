"""Which checks there are: for a laptop, and for a run in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vicur.cluster.preflight import access, buckets, cue_endpoint, interfaces, machine, models, pool, room, tracking
from vicur.cluster.preflight.finding import Check, Finding
from vicur.cluster.preflight.link import Link, NoCluster
from vicur.config.cluster import PreflightConfig
from vicur.config.tracking import TrackingConfig

_RUN_HERE = ("torch", "transformers", "kfp", "mlflow")
_RUN_THERE = ("kfp", "kfp-kubernetes", "kubernetes", "mlflow-skinny", "boto3")


def laptop_checks(config: PreflightConfig, settings: TrackingConfig) -> list[Check]:
    """What runs on this machine need, and what starting one in a cluster needs here."""
    return [
        Check("python", "laptop", machine.python_release),
        Check("packages", "laptop", partial(machine.packages, _RUN_HERE, "local")),
        Check("disk", "laptop", partial(machine.disk, config.scratch, config.free_gib)),
        *(Check(f"model {each}", "laptop", partial(models.model, each)) for each in config.models),
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
        *(Check(f"model {each}", "cluster", partial(models.model, each)) for each in config.models),
        Check("tracking", "cluster", partial(tracking.tracking, settings)),
        *cluster_checks(config, Link()),
    ]


def cluster_checks(config: PreflightConfig, link: Link) -> list[Check]:
    """What a cluster, and what is around it, must have for a run that is set so."""
    several = config.pool is not None and config.pool.nodes > 1
    wanted: list[tuple[str, Callable[[], Finding]]] = [
        *((f"bucket {each}", partial(buckets.bucket, each)) for each in config.buckets),
    ]
    if config.cue_endpoint is not None:
        look = partial(cue_endpoint.cue_endpoint, config.cue_endpoint, config.cue_model, config.cue_key_variable)
        wanted.append(("cue endpoint", look))
    asked: list[tuple[str, Callable[[], Finding]]] = [
        ("cluster", partial(interfaces.release, link)),
        ("pipelines", partial(interfaces.interface, link, interfaces.ARGO)),
    ]
    if config.pool is not None:
        asked.append(("gpu pool", partial(pool.gpu_pool, link, config.pool)))
        asked.append(("quota", partial(room.quota, link, config.namespace, config.pool)))
    if config.queue is not None:
        asked.append(("queue", partial(room.queue, link, config.namespace, config.queue)))
    if several:
        asked.append(("trainer", partial(interfaces.interface, link, interfaces.TRAINER)))
        asked.append(("access", partial(access.access, link, config.namespace)))
    return [
        *(Check(name, "cluster", look) for name, look in wanted),
        *(Check(name, "cluster", look if name == "cluster" else _after(look)) for name, look in asked),
    ]


def _after(look: Callable[[], Finding]) -> Callable[[], Finding]:
    """The same, saying no more than needed where there is no cluster to ask: that is a finding of its own."""

    def looked() -> Finding:
        try:
            return look()
        except NoCluster:
            return Finding("failed", "there is no cluster to ask", "See the finding on the cluster.")

    return looked


def _no_bucket() -> Finding:
    return Finding(
        "failed",
        "no place on S3 is named that trainings keep their checkpoints in",
        "Set checkpoints to s3://bucket/prefix, or add --need 'buckets=[s3://bucket/prefix]'.",
    )
