"""Create the inputs of the registration stage, and run the stage like a pipeline step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mlflow import MlflowClient

from tests.evaluation.conftest import context
from tests.evaluation.factory import BASE, Reader, write_evaluation
from vicur.config.comparison import ComparisonConfig
from vicur.config.recovery import CueRecoverySettings
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.evaluation.compare import compare
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.registry.register import REGISTER, RegistrationSummary
from vicur.stage.runner import Session, execute
from vicur.storage.folders import tree_sha256
from vicur.tracking.runs import open_tracker

GOOD = Reader("vicur", misreads=0.08, privilege="cue", recovery=True)
BETTER = Reader("vicur", misreads=0.03, privilege="cue", recovery=True)
WORSE_THAN_GOOD = Reader("vicur", misreads=0.12, privilege="cue", recovery=True)
TIE = Reader("opsd", misreads=0.185, privilege="answer")
WORSE = Reader("opsd", misreads=0.4, privilege="answer")
LEAKING = Reader("vicur", misreads=0.08, leaks=0.2, privilege="cue", recovery=True)

CONFIG = RegistryConfig(model="students")


def save_student(
    folder: Path, base: Path, reader: Reader, data: Mapping[str, Path], mlflow_run_id: str | None = None
) -> Path:
    """Write a student like the training stage does. Different readers get different weights."""
    student = load_model(base)
    if reader.recovery:
        student = with_cue_recovery(
            student, CueRecoverySettings(interval=2), 0, im_start_token_id=Chat.load(base).start_id
        )
    with torch.no_grad():
        student.model.language_model.norm.weight += reader.misreads + 10 * reader.leaks
    record = {
        "method": reader.method,
        "privilege": reader.privilege,
        "recovery": reader.recovery,
        "parent": tree_sha256(base),
        "dataset": tree_sha256(data["dataset"]),
        "cues": tree_sha256(data["cues"]),
        "seed": 0,
        "training": {"learning_rate": 3e-4, "rollout": {"temperature": 1.0}},
        "steps": 200,
        "best_step": 180,
        "validation_accuracy": 0.7,
        "mlflow_run_id": mlflow_run_id,
    }
    save_model(student, folder, chat_folder=base, record=record)
    (folder / "metrics.jsonl").write_text('{"step": 0, "validation_accuracy": 0.6}\n')
    return folder


def registration_inputs(
    root: Path, data: Mapping[str, Path], base_model: Path, reader: Reader, base: Reader = BASE
) -> dict[str, Path]:
    """Create the inputs of the registration stage for a simulated reader."""
    examples = [e for split in ("validation", "test", "ood") for e in read_examples(data["dataset"], split)]
    inputs = {
        **data,
        "student": save_student(root / "student", base_model, reader, data),
        "evaluation": write_evaluation(reader, examples, root / "evaluation"),
        "base_evaluation": write_evaluation(base, examples, root / "base_evaluation"),
        "comparison": root / "comparison",
    }
    inputs["comparison"].mkdir()
    compared = {**data, "base": inputs["base_evaluation"], reader.method: inputs["evaluation"]}
    compare(ComparisonConfig(resamples=1000, cards=3), compared, inputs["comparison"], context(root))
    return inputs


def run_register(
    inputs: Mapping[str, Path],
    *,
    config: RegistryConfig = CONFIG,
    tracking: TrackingConfig | None = None,
    run_id: str = "run-1",
) -> RegistrationSummary:
    """Run the stage in the current folder, like a step of the pipeline."""
    where = tracking or TrackingConfig()
    session = Session(run_id, 0, None, Path("scratch"), lambda stage: open_tracker(where, run_id, stage))
    return execute(REGISTER, config, inputs, Path(f"registered/{run_id}"), session)


def config_for(tmp_path: Path) -> RegistryConfig:
    """Return a configuration with a model name that no other test uses, since tests share the server."""
    return RegistryConfig(model=tmp_path.name)


def champion(client: MlflowClient, name: str = "students") -> str:
    """Return the number of the champion."""
    return str(client.get_model_version_by_alias(name, "champion").version)
