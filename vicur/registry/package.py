"""Packs a student as an MLflow model: weights, the code that runs them, what must be installed, and how to ask it.

The model carries the source of ``vicur`` as it was registered. What was evaluated is what is served, also where
another release of the package is installed beside it.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vicur
from vicur.storage.folders import link_or_copy
from vicur.tracking.mlflow import environment

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from vicur.data.schema import Example

CHECKPOINT = "checkpoint"
_SERVING = Path(__file__).with_name("serving.py")
# Weights of the shipped tiny base, caches and compiled files have no part in serving.
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.safetensors")


def pack(
    student: Path,
    folder: Path,
    *,
    decoding: Mapping[str, Any],
    example: Example,
    facts: Mapping[str, str],
    model_id: str,
    run_id: str | None,
) -> Path:
    """Writes the MLflow model to ``folder / "model"`` and returns that.

    Args:
        student: the student's folder.
        folder: a folder to write to; what it holds is replaced.
        decoding: how the student's responses were drawn when it was evaluated.
        example: a question to show as the input example.
        facts: lineage, for the model's metadata.
        model_id: id that the tracking server gave the model.
        run_id: run that the model comes from.
    """
    import mlflow
    import pandas as pd
    from mlflow.models import Model

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, checkpoint, model = folder / "source" / "vicur", folder / CHECKPOINT, folder / "model"
    shutil.copytree(Path(vicur.__file__).parent, source, ignore=_LEFT_OUT)
    # MLflow calls an artifact's folder by the name that it finds.
    link_or_copy(student, checkpoint)
    image = base64.b64encode(example.images[0]).decode() if example.images else None
    # MLflow would take the requirements from a uv.lock that lies where the user stands.
    with environment(MLFLOW_UV_AUTO_DETECT="false"):
        mlflow.pyfunc.save_model(
            str(model),
            python_model=str(_SERVING),
            artifacts={CHECKPOINT: str(checkpoint)},
            code_paths=[str(source)],
            model_config={"decoding": dict(decoding)},
            signature=signature(decoding),
            input_example=pd.DataFrame([{"question": example.question, "image": image}]),
            pip_requirements=requirements(),
            metadata=dict(facts),
            mlflow_model=Model(model_uuid=model_id, model_id=model_id, run_id=run_id),
        )
    shutil.rmtree(source.parent)
    shutil.rmtree(checkpoint)
    _forget_this_machine(model)
    return model


def _forget_this_machine(model: Path) -> None:
    """Takes the paths of the machine that packed the model out of its description; they are not used to load it."""
    from mlflow.models import Model

    described = Model.load(str(model))
    function = described.flavors["python_function"]
    function["model_code_path"] = _SERVING.name
    function["artifacts"][CHECKPOINT]["uri"] = function["artifacts"][CHECKPOINT]["path"]
    described.save(str(model / "MLmodel"))


def signature(decoding: Mapping[str, Any]) -> ModelSignature:
    """Columns and parameters of the model. The type of ``image`` is open: paths, base64 text and bytes are all taken."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    kinds = {bool: DataType.boolean, int: DataType.long, float: DataType.double}
    defaults = {**decoding, "seed": 0, "batch_size": 32}
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "question"), ColSpec(AnyType(), "image", required=False)]),
        outputs=Schema([ColSpec(DataType.string, "answer", required=False), ColSpec(DataType.string, "response")]),
        params=ParamSchema([ParamSpec(name, kinds[type(value)], value) for name, value in defaults.items()]),
    )


def requirements() -> list[str]:
    """What the model needs, pinned to what is installed here: the package's own dependencies without its extras.

    Given in full, since MLflow would otherwise run the model to find out.
    """
    from packaging.requirements import Requirement
    from packaging.version import Version

    needed = [Requirement(text) for text in requires("vicur") or ()]
    names = [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    # A build's local label (torch's "+cpu") is not on the index.
    pinned = [f"{name}=={Version(version(name)).public}" for name in names]
    # Client and server are released together, and a step's image holds the client alone.
    return [f"mlflow=={version('mlflow-skinny')}", f"pandas=={version('pandas')}", *pinned]
