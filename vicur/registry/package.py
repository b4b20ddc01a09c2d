"""Package a student as an MLflow model: weights, code, requirements, signature and an input example.

The model contains the source of ``vicur`` as of its registration. It therefore serves exactly the model that was
evaluated, even if another release of the package is installed.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from importlib.metadata import requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import vicur
from vicur.config.prompts import PromptConfig
from vicur.config.training import MASTERS
from vicur.registry.provenance import PROVENANCE, Provenance
from vicur.registry.weights import WEIGHTS, WeightsReference
from vicur.storage.folders import files_below, link_or_copy
from vicur.tracking.mlflow import environment

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from vicur.data.schema import Example

CHECKPOINT = "checkpoint"
CODE = "vicur.zip"
_FRAMES = 6  # of a video in the input example
_SERVING = Path(__file__).with_name("serving.py")
# Serving needs neither the weights of the tiny base in the package nor compiled files.
_IGNORED = (".pyc", ".safetensors")


def pack(
    student: Path,
    folder: Path,
    *,
    decoding: Mapping[str, Any],
    prompts: PromptConfig,
    example: Example,
    video: Mapping[str, Any] | None = None,
    videos: bool = False,
    provenance: Provenance,
    weights: WeightsReference | None = None,
    model_id: str,
    run_id: str | None,
) -> Path:
    """Write the MLflow model to ``folder / "model"`` and return that path.

    Args:
        student: the student's folder.
        folder: working folder; existing content is deleted.
        decoding: default sampling settings of the model: those of its evaluation.
        prompts: system message, template of choices and pixel budget of its evaluation.
        example: question for the input example.
        video: settings by which its dataset's videos were sampled.
        videos: whether its dataset has videos, so that serving needs a decoder.
        provenance: origin of the model, which becomes a file in it.
        weights: files of the student that stay where they are, so that the model has a reference to them instead.
        model_id: id of the logged model on the tracking server.
        run_id: run that the model is attributed to.
    """
    import mlflow
    import pandas as pd
    from mlflow.models import Model

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, checkpoint, model = folder / CODE, folder / CHECKPOINT, folder / "model"
    _write_code(source)
    # MLflow names an artifact after its folder, so the copy has the name that serving.py looks for.
    link_or_copy(student, checkpoint)
    # A version serves the student as it was evaluated.
    shutil.rmtree(checkpoint / MASTERS, ignore_errors=True)
    for name in weights.files if weights is not None else ():
        (checkpoint / name).unlink()
    images = [base64.b64encode(image).decode() for image in example.strip(_FRAMES)]
    row: dict[str, Any] = {"question": example.question, "image": images[0] if len(images) == 1 else images or None}
    if example.video is not None:
        row = {"question": example.question, "image": None, "video": images}
    if example.choices:
        row["choices"] = list(example.choices)
    # MLflow would otherwise take the requirements from a uv.lock in the current folder.
    with environment(MLFLOW_UV_AUTO_DETECT="false"):
        mlflow.pyfunc.save_model(
            str(model),
            python_model=str(_SERVING),
            artifacts={CHECKPOINT: str(checkpoint)},
            code_paths=[str(source)],
            model_config={
                "decoding": dict(decoding),
                "prompts": prompts.model_dump(mode="json"),
                **({"video": dict(video)} if video else {}),
                # MLflow lets callers of load_model override only keys that are there.
                "limits": {},
                "image_folder": ".",
            },
            signature=signature(decoding),
            input_example=pd.DataFrame([row]),
            pip_requirements=requirements(videos=videos or example.video is not None, references=weights is not None),
            metadata=provenance.lineage.tags(),
            mlflow_model=Model(model_uuid=model_id, model_id=model_id, run_id=run_id),
        )
    source.unlink()
    shutil.rmtree(checkpoint)
    (model / PROVENANCE).write_text(provenance.as_text(), encoding="utf-8")
    if weights is not None:
        (model / WEIGHTS).write_text(weights.model_dump_json(indent=1) + "\n", encoding="utf-8")
    _remove_local_paths(model)
    return model


def _write_code(file: Path) -> None:
    """Write the source of this package to a zip file, which Python imports as it is.

    A store of artifacts takes a request for each file, and a server with users checks a password for each: 500 of them took minutes.
    """
    root = Path(vicur.__file__).parent
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for path in files_below(root):
            if path.suffix not in _IGNORED:
                # With a fixed time, the same code gives the same file.
                archive.writestr(ZipInfo(path.relative_to(root.parent).as_posix()), path.read_bytes(), ZIP_DEFLATED)


def _remove_local_paths(model: Path) -> None:
    # MLflow records paths of the machine that packaged the model, but does not need them to load it.
    from mlflow.models import Model

    description = Model.load(str(model))
    function = description.flavors["python_function"]
    function["model_code_path"] = _SERVING.name
    function["artifacts"][CHECKPOINT]["uri"] = function["artifacts"][CHECKPOINT]["path"]
    description.save(str(model / "MLmodel"))


def signature(decoding: Mapping[str, Any]) -> ModelSignature:
    """Return columns and parameters of the model."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    kinds = {bool: DataType.boolean, int: DataType.long, float: DataType.double}
    defaults = {**decoding, "seed": 0, "batch_size": 32}
    return ModelSignature(
        # image may be base64 text, bytes, a picture, or a list of these, for which MLflow has no common type.
        inputs=Schema(
            [
                # No column is required, so that the model itself says what is wrong with a row.
                ColSpec(DataType.string, "question", required=False),
                ColSpec(AnyType(), "image", required=False),
                ColSpec(AnyType(), "choices", required=False),
                ColSpec(AnyType(), "video", required=False),
                ColSpec(AnyType(), "messages", required=False),
            ]
        ),
        outputs=Schema([ColSpec(DataType.string, name, required=False) for name in ("answer", "response", "error")]),
        params=ParamSchema([ParamSpec(name, kinds[type(value)], value) for name, value in defaults.items()]),
    )


def requirements(*, videos: bool = False, references: bool = False) -> list[str]:
    """Return the requirements of the model: the package's dependencies without extras, pinned to the installed releases.

    With ``videos``, PyAV is one of them if it is installed; with ``references``, to weights on S3, boto3 is.
    """
    from packaging.requirements import Requirement
    from packaging.version import Version

    # Stated in full: MLflow would otherwise load and run the model to infer them.
    needed = [Requirement(text) for text in requires("vicur") or ()]
    names = [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    names += ["av"] if videos and find_spec("av") is not None else []
    names += ["boto3"] if references else []
    # The local label of a build (torch's "+cpu") does not exist on the package index.
    pinned = [f"{name}=={Version(version(name)).public}" for name in names]
    # The images of steps contain only the client, mlflow-skinny. Both packages are released together.
    return [f"mlflow=={version('mlflow-skinny')}", f"pandas=={version('pandas')}", *pinned]
