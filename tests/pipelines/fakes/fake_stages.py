"""Fake stages that compute nothing, for tests of the pipelines.

``FAKE_TROUBLE`` makes one of them fail, as ``<label>:<trouble>``: ``input`` (wrong input), ``defect``, ``flaky`` (fails only the first
time), ``slow`` (writes a checkpoint, then waits), ``killed`` (by a signal). Calls are counted in the folder ``FAKE_CALLS``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from vicur.errors import VicurError
from vicur.stage.runner import Context, Stage, Summary

_SQL_STORES = ("mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store")


class FakeSummary(Summary):
    """The fields of the real stages' summaries that the summary of a run uses."""

    dataset_hash: str = "0123.dir"
    examples: dict[str, int] = Field(default_factory=lambda: {"distill": 2, "test": 1})
    provider: str = "fake"
    grounded_share: float = 1.0
    answer_leak_share: float = 0.0
    chosen: str = "vicur"
    base: dict[str, float] = Field(default_factory=lambda: {"validation": 0.5, "test": 0.6, "ood": 0.4})
    page: str = "the verdict"
    students: dict[str, dict[str, float]] = Field(default_factory=dict)
    differences: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    arms: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    held: list[str] = Field(default_factory=list)


def fake(config: Any, inputs: Mapping[str, Path], output: Path, context: Context) -> FakeSummary:
    """Write every file that a step may read, and the call itself."""
    label = context.events.stage
    _count(label)
    _trouble(label, context)
    for step in range(1, 4):
        context.events.progress(step, 3, "fakes made")
    models = [name for name in inputs if not name.endswith(".benchmarks")]
    methods = sorted({name.removesuffix(".student") for name in models} - {"dataset", "cues", "base"})
    call = {"config": config.model_dump(mode="json"), "inputs": sorted(inputs), "seed": context.seed}
    (output / "call.json").write_text(json.dumps(call, sort_keys=True))
    (output / "samples.html").write_text("<p>samples</p>")
    manifest = {"schema_version": 1, "source": {}, "seed": None, "examples": {}, "skipped": 0, "shards": []}
    (output / "manifest.json").write_text(json.dumps(manifest))
    (output / "report.html").write_text("<p>report</p>")
    (output / "comparison.json").write_text(json.dumps({"choice": {"method": methods[-1] if methods else ""}}))
    (output / "results.md").write_text("![p](results/p.svg)")
    (output / "results").mkdir()
    (output / "results" / "p.svg").write_text("<svg/>")
    registration = {
        "tracking_uri": "sqlite:///mlflow/mlflow.db",
        "model": "vicur-student",
        "version": "1",
        "aliases": ["candidate", "champion"],
        "gate": {"passed": True, "reasons": ["better than base"]},
    }
    (output / "registration.json").write_text(json.dumps(registration))
    return FakeSummary(
        key_figure=f"{label} is done",
        metrics={"figure": 1.0},
        students={m: {"validation": 0.7, "test": 0.7, "ood": 0.5} for m in methods},
        differences={m: {"test": {"mean": 0.1, "low": 0.05, "high": 0.15, "p": 0.0}} for m in methods},
    )


def _count(label: str) -> None:
    with (Path(os.environ["FAKE_CALLS"]) / label.replace(" ", "-")).open("a") as stream:
        stream.write("x")


def _trouble(label: str, context: Context) -> None:
    troubled, _, trouble = os.environ.get("FAKE_TROUBLE", "").partition(":")
    if troubled != label:
        return
    checkpoint = context.work / "checkpoint"
    if trouble == "input":
        raise VicurError("is torn.", where="photo.png: row 3", remedy="Replace it.")
    if trouble == "down":
        raise VicurError("MLflow does not answer.", where="http://localhost:1", remedy="Start it.", retryable=True)
    if trouble == "defect":
        raise ZeroDivisionError("division by zero")
    if trouble == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble in ("flaky", "slow") and not checkpoint.exists():
        checkpoint.write_text("half done")
        if trouble == "flaky":
            raise ConnectionError("reset by peer")
        context.events.progress(1, 3, "waiting")
        time.sleep(60)


def __getattr__(name: str) -> Any:
    """Return a fake stage of any name."""
    if name.startswith("__"):
        raise AttributeError(name)
    return Stage(name, fake, FakeSummary, reusable=name != "register")


def install() -> None:
    """Replace the stages, their code versions and the tracking of this process."""
    # Nothing is tracked, so the server that forks the steps does not need to spend seconds on importing these.
    for name in ("mlflow.pyfunc", "mlflow.store.db.utils", *_SQL_STORES):
        sys.modules[name] = ModuleType(name)
    import vicur.stage.runner
    import vicur.stage.session
    import vicur.stage.table
    import vicur.steps.exit_step
    from vicur.tracking.tracker import Tracker

    def finish(_: Any, run_id: str, status: str, **_figures: object) -> None:
        with (Path(os.environ["FAKE_CALLS"]) / "finish").open("a") as stream:
            stream.write(f"{run_id} {status}\n")

    vicur.stage.runner.code_version = lambda _: "fake"
    vicur.stage.session.open_tracker = lambda *_: Tracker()
    vicur.steps.exit_step.finish_pipeline = finish
    for name, entry in vicur.stage.table.STAGES.items():
        reference = replace(entry.reference, module="fake_stages", constant=name)
        vicur.stage.table.STAGES[name] = replace(entry, reference=reference)
