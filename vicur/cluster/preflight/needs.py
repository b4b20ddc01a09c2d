"""What a run's configuration needs of its surroundings."""

from __future__ import annotations

from typing import Any

from vicur.config.preflight import PreflightConfig
from vicur.config.run import RunConfig
from vicur.config.validation import validated


def needs_of(config: RunConfig) -> PreflightConfig:
    """What is to be looked at before a run of ``config`` in a cluster."""
    where, provider = config.cluster, config.cues.provider
    values: dict[str, Any] = {
        "namespace": where.namespace,
        "trainer": where.nodes > 1,
        "queue": where.queue or None,
        "models": [config.base.path, *_teachers(config)],
        "buckets": [config.checkpoints] if config.checkpoints.startswith("s3://") else [],
        "dataset": config.data.model_dump(mode="json"),
        "cue_endpoint": getattr(provider, "url", None),
        "cue_model": getattr(provider, "model", None),
    }
    if where.gpu_count:
        values["pool"] = {
            "resource": where.gpu_type,
            "gpus": where.gpu_count,
            "nodes": where.nodes,
            "node_selector": where.node_selector,
            "tolerations": [taint.model_dump() for taint in where.tolerations],
            "autoscaled": where.autoscaled,
        }
    needs: PreflightConfig = validated(PreflightConfig, values, "the run's configuration")
    return needs


def _teachers(config: RunConfig) -> list[str]:
    teachers = [config.training.for_method(name).effective.teacher for name in config.methods]
    return sorted({str(teacher.path) for teacher in teachers if teacher.type == "checkpoint"})
