"""The one place that logs runs, to MLflow and to local JSONL files."""

from vicur.tracking.mlflow import EMBEDDED_URI, connect, tracking_uri
from vicur.tracking.runs import RUN_TAG, STAGE_TAG, finish_pipeline, metric_total, open_tracker, pipeline_run
from vicur.tracking.tracker import Status, Tracker

__all__ = [
    "EMBEDDED_URI",
    "RUN_TAG",
    "STAGE_TAG",
    "Status",
    "Tracker",
    "connect",
    "finish_pipeline",
    "metric_total",
    "open_tracker",
    "pipeline_run",
    "tracking_uri",
]
