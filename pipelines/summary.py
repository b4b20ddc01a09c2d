"""Summary of a local run: ``summary.json`` for programs, tables for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from rich.table import Table
from vicur_pipelines.progress import Progress, Step

from vicur.wording import estimate, mean_and_std, percent

Status = Literal["succeeded", "failed", "stopped"]


class StageRecord(BaseModel):
    name: str
    status: str  # finished, reused, failed, running (if the run was stopped) or pending (not started)
    seconds: float | None


class DatasetRecord(BaseModel):
    hash: str  # DVC hash of the dataset folder
    examples: dict[str, int]  # by split


class CuesRecord(BaseModel):
    provider: str
    grounded_share: float | None
    answer_leak_share: float


class StudentRecord(BaseModel):
    """Accuracy of a student, and its difference to the base on the test questions."""

    test: float
    ood: float | None
    difference: dict[str, float]  # mean, low and high of its interval, and the detectable difference


class EvaluationRecord(BaseModel):
    """Accuracy of base and students."""

    base: dict[str, float | None]  # by split: test, ood
    students: dict[str, StudentRecord]  # by method


class GateRecord(BaseModel):
    passed: bool
    reasons: list[str]


class RegistryRecord(BaseModel):
    tracking_uri: str
    model: str
    version: str
    aliases: list[str]
    gate: GateRecord


class ArmRecord(BaseModel):
    """Accuracy of an arm of an ablation, by split (``test``, ``ood``): mean and standard deviation over the seeds."""

    mean: dict[str, float]
    std: dict[str, float]
    difference: dict[str, float]  # to the base on the test questions: mean, and low and high of its interval


class AblationRecord(BaseModel):
    base: dict[str, float]
    arms: dict[str, ArmRecord]
    held: list[str]  # one sentence per contrast: what was expected, and whether it held


class ErrorRecord(BaseModel):
    stage: str | None  # the step that failed first, or None if the pipeline itself failed
    message: str
    log: str  # relative to the run's folder


class RunSummary(BaseModel):
    """Content of ``summary.json``. Parts that the run did not reach are ``null``."""

    run_id: str
    status: Status
    stages: list[StageRecord]
    dataset: DatasetRecord | None
    cues: CuesRecord | None
    evaluation: EvaluationRecord | None
    registry: RegistryRecord | None
    ablation: AblationRecord | None = None
    seconds: float
    error: ErrorRecord | None = None


def summarize(
    run_id: str, progress: Progress, status: Status, seconds: float, error: ErrorRecord | None = None
) -> RunSummary:
    """Return the summary of a run from the state of its steps."""
    done = {step.name: step for step in progress.steps if step.state in ("finished", "reused")}
    return RunSummary(
        run_id=run_id,
        status=status,
        stages=[_stage(step) for step in progress.steps],
        dataset=_dataset(done.get("prepare")),
        cues=_cues(done.get("extract")),
        evaluation=_evaluation(done.get("compare")),
        registry=_registry(done.get("register")),
        ablation=_ablation(done.get("ablate")),
        seconds=round(seconds, 3),
        error=error,
    )


def _stage(step: Step) -> StageRecord:
    seconds = None if step.seconds is None else round(step.seconds, 3)
    return StageRecord(name=step.name, status=step.state, seconds=seconds)


def _dataset(step: Step | None) -> DatasetRecord | None:
    return step and DatasetRecord(hash=step.summary["dataset_hash"], examples=step.summary["examples"])


def _cues(step: Step | None) -> CuesRecord | None:
    return step and CuesRecord.model_validate(step.summary)


def _evaluation(step: Step | None) -> EvaluationRecord | None:
    if step is None:
        return None
    base, differences = step.summary["base"], step.summary["differences"]
    return EvaluationRecord(
        base={"test": base["test"], "ood": base.get("ood")},
        students={
            method: StudentRecord(
                test=accuracy["test"],
                ood=accuracy.get("ood"),
                difference=_ends(differences[method]["test"]),
            )
            for method, accuracy in step.summary["students"].items()
        },
    )


def _registry(step: Step | None) -> RegistryRecord | None:
    if step is None or step.output is None:
        return None
    file = Path(step.output) / "registration.json"
    return RegistryRecord.model_validate(json.loads(file.read_text(encoding="utf-8")))


def _ablation(step: Step | None) -> AblationRecord | None:
    return step and AblationRecord.model_validate(step.summary)


def _ends(difference: dict[str, float]) -> dict[str, float]:
    return {end: difference[end] for end in ("mean", "low", "high", "detectable") if end in difference}


def results_table(evaluation: EvaluationRecord, chosen: str | None) -> Table:
    """Return a table of base and students for the terminal. It marks ``chosen``, the best student on validation."""
    table = _table("test", "ood", "difference on test [95 %]", "")
    table.add_row("base", _percent(evaluation.base["test"]), _percent(evaluation.base["ood"]), "", "")
    for method, student in evaluation.students.items():
        mark = "best on validation" if method == chosen and len(evaluation.students) > 1 else ""
        table.add_row(method, _percent(student.test), _percent(student.ood), estimate(**student.difference), mark)
    return table


def ablation_table(ablation: AblationRecord) -> Table:
    """Return a table of base and arms for the terminal."""
    table = _table("test", "ood", "difference on test [95 %]")
    table.add_row("base", _percent(ablation.base["test"]), _percent(ablation.base.get("ood")), "")
    for name, arm in ablation.arms.items():
        table.add_row(name, _mean_and_std(arm, "test"), _mean_and_std(arm, "ood"), estimate(**_ends(arm.difference)))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right" if column in ("test", "ood") else "left")
    return table


def _mean_and_std(arm: ArmRecord, split: str) -> str:
    return "" if split not in arm.mean else mean_and_std(arm.mean[split], arm.std[split])


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)
