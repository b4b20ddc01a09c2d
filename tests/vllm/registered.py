"""Register a student in a new registry."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from vicur.config.prompts import PromptConfig
from vicur.config.tracking import TrackingConfig
from vicur.data.schema import Example
from vicur.registry.lineage import Lineage, checkpoint_sha256
from vicur.registry.package import pack
from vicur.registry.provenance import Provenance
from vicur.registry.uploads import create_version
from vicur.registry.versions import CHAMPION
from vicur.tracking.mlflow import as_default, connect
from vicur.tracking.runs import experiment_id


def register(student: Path, name: str, folder: Path, prompts: PromptConfig | None = None) -> str:
    """Register a student, evaluated with ``prompts``, as champion in a new SQLite store in ``folder`` and return the store's URI."""
    prompts = prompts or PromptConfig()
    tracking = TrackingConfig(uri=f"sqlite:///{folder}/mlflow/mlflow.db")
    client: MlflowClient = connect(tracking)
    run_id = client.create_run(experiment_id(client, tracking)).info.run_id
    example = Example(id="e", images=(), question="What?", answer="1", source="test", split="test")
    checkpoint = checkpoint_sha256(student)
    provenance = Provenance(lineage=Lineage(checkpoint=checkpoint), pixels=prompts.pixels.of("evaluation"))
    with as_default(client):
        version = create_version(
            client,
            name,
            identity={"vicur.checkpoint": checkpoint},
            tags={},
            params={},
            run_id=run_id,
            label="student",
            description="",
            pack=lambda model_id: pack(
                student,
                folder / "package",
                decoding={"temperature": 0.0},
                prompts=prompts,
                example=example,
                provenance=provenance,
                model_id=model_id,
                run_id=run_id,
            ),
        )
    client.set_registered_model_alias(name, CHAMPION, version.number)
    return str(tracking.uri)
