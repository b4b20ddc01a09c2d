"""Derive what a run needs of its environment from its configuration."""

from __future__ import annotations

from typing import Any

from vicur.cluster.preflight.requests import step_requests
from vicur.config.ablation import AblationConfig
from vicur.config.model_address import ClaimAddress, model_address, mounted
from vicur.config.preflight import PreflightConfig
from vicur.config.sizes import is_sized_for_tiny
from vicur.config.validation import validated
from vicur.stage.table import PipelineConfig


def needs_of(config: PipelineConfig) -> PreflightConfig:
    """Return what a run of ``config`` in a cluster needs."""
    cluster, provider = config.cluster, config.cues.provider
    values: dict[str, Any] = {
        "namespace": cluster.namespace,
        "trainer": cluster.launches_job,
        "servers": cluster.launches_job and any(cell.training.server_devices for cell in config.cells()),
        "steps": step_requests(config),
        "sized_for_tiny": is_sized_for_tiny(config),
        "autoscaled": cluster.autoscaled,
        "endpoints": cluster.endpoints,
        "queue": cluster.queue or None,
        "models": [_in_steps(path, config) for path in (config.base.path, *_teachers(config))],
        "buckets": [config.checkpoints] if config.checkpoints.startswith("s3://") else [],
        "dataset": config.data.model_dump(mode="json"),
        "reader": _reader(config),
        # Only providers that call a server have these.
        "cue_endpoint": getattr(provider, "url", None),
        "cue_model": getattr(provider, "model", None),
        # An ablation registers nothing.
        "model_registry": None if isinstance(config, AblationConfig) else config.registry.kubeflow.url,
    }
    if cluster.gpu_count:
        values["pool"] = {
            "resource": cluster.gpu_type,
            "gpus": cluster.gpu_count,
            "nodes": cluster.nodes,
            # Of the method with the most. Without a job, servers share the GPUs of their step.
            "server_gpus": max(cell.training.server_devices for cell in config.cells()) if cluster.launches_job else 0,
            "node_selector": cluster.node_selector,
            "tolerations": [taint.model_dump() for taint in cluster.tolerations],
            "autoscaled": cluster.autoscaled,
        }
    needs: PreflightConfig = validated(PreflightConfig, values, "the run's configuration")
    return needs


def _in_steps(path: str, config: PipelineConfig) -> str:
    # Steps see a volume as a folder.
    address = model_address(path)
    return str(mounted(address, config.cluster.mounts)) if isinstance(address, ClaimAddress) else path


def _reader(config: PipelineConfig) -> dict[str, Any] | None:
    reader = config.cues.reader
    return None if reader is None else {**reader.model_dump(mode="json"), "path": _in_steps(reader.path, config)}


def _teachers(config: PipelineConfig) -> list[str]:
    teachers = [cell.training.effective.teacher for cell in config.cells()]
    return sorted({str(teacher.path) for teacher in teachers if teacher.type == "checkpoint"})
