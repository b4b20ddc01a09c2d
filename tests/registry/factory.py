"""Create the inputs of the registration stage, and run the stage like a pipeline step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mlflow import MlflowClient

from tests.evaluation.conftest import context
from tests.evaluation.factory import BASE, GREEDY, Reader, write_evaluation
from vicur.config.comparison import ComparisonConfig
from vicur.config.recovery import CueRecoverySettings
from vicur.config.registry import GateConfig, RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.data import read_examples
from vicur.evaluation.compare import compare
from vicur.evaluation.metrics import EvaluationMetrics, measure, write_metrics
from vicur.evaluation.predictions import Prediction, write_predictions
from vicur.evaluation.statistics import Difference
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.registry.gate import GateInputs, decide
from vicur.registry.paired import Resampling
from vicur.registry.register import REGISTER, RegistrationSummary
from vicur.registry.verdict import record_verdict
from vicur.registry.versions import Version
from vicur.stage.runner import Session, execute
from vicur.storage.folders import tree_sha256
from vicur.tracking.mlflow import as_default
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
    addresses: Mapping[str, str] | None = None,
) -> RegistrationSummary:
    """Run the stage in the current folder, like a step of the pipeline whose inputs are stored at ``addresses``."""
    where = tracking or TrackingConfig()
    session = Session(run_id, 0, None, Path("scratch"), lambda stage: open_tracker(where, run_id, stage))
    return execute(REGISTER, config, inputs, Path(f"registered/{run_id}"), session, addresses=addresses)


def config_for(tmp_path: Path) -> RegistryConfig:
    """Return a configuration with a model name that no other test uses, since tests share the server."""
    return RegistryConfig(model=tmp_path.name)


def store_small_evaluation(client: MlflowClient, folder: Path) -> str:
    """Return a run with an evaluation of 40 questions."""
    run_id = str(client.create_run("0").info.run_id)
    rows = [
        Prediction(
            **{"example_id": f"e{n}", "split": "test", "group": f"g{n}", "kind": "sum", "question": "?", "answer": "1"},
            **{"response": "1", "extracted": "1", "correct": n % 2 == 0, "evidence_right": None, "hint_leaks": 0},
            **{"words": 1, "tokens": 2, "finished": True},
        )
        for n in range(40)
    ]
    folder.mkdir()
    write_predictions(rows, folder)
    metrics = EvaluationMetrics(model=GOOD.model, decoding=GREEDY, splits={"test": measure(rows)})
    write_metrics(metrics, folder)
    client.log_artifacts(run_id, str(folder), "evaluation")
    return run_id


def create_judged_version(client: MlflowClient, name: str, run_id: str, leaking: int = 0) -> Version:
    """Create a version without weights that went through the gate. ``leaking`` of its 240 responses mention a hint."""
    model = client.create_logged_model("0", "student")
    client.finalize_logged_model(model.model_id, "READY")
    with as_default(client):
        entity = client.create_model_version(name, f"models:/{model.model_id}", run_id, model_id=model.model_id)
    version = Version.of(entity, client)
    gain = Difference(mean=0.1, low=0.05, high=0.15)
    measured = GateInputs(examples=240, accuracy=0.8, base_accuracy=0.7, against_base=gain, leaking=leaking)
    record_verdict(
        client,
        version,
        checkpoint="",
        evaluation_run=run_id,
        compared_with=None,
        outcome=decide(measured, GateConfig()),
        inputs=measured,
        config=GateConfig(),
        resampling=Resampling(seed=0, resamples=1000, confidence=0.95),
    )
    return version


def champion(client: MlflowClient, name: str = "students") -> str:
    """Return the number of the champion."""
    return str(client.get_model_version_by_alias(name, "champion").version)
