"""Parameters, limits and signature of a registered model."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from tests.registry.packing import DECODING, packed
from tests.registry.served.asking import ask, error
from vicur.data.schema import Example
from vicur.errors import VicurError


def test_parameters_change_the_decoding(model: mlflow.pyfunc.PyFuncModel, example: Example) -> None:
    image = example.images[0]
    sampled = [ask(model, image, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert len(ask(model, image, max_new_tokens=1).split()) <= 1


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"temperature": -1.0}, "must be a number from 0 to 2"),
        ({"temperature": float("nan")}, "must be a number from 0 to 2"),
        ({"temperature": float("inf")}, "must be a number from 0 to 2"),
        ({"max_new_tokens": 1_000_000}, "must be a whole number from 1 to 2048, not 1000000"),
        ({"max_new_tokens": 0}, "must be a whole number from 1"),
        ({"top_k": -1}, "must be a whole number from 0"),
        ({"batch_size": 10**9}, "must be a whole number from 1 to 1024"),
        ({"seed": True}, "must be a whole number"),
        ({"presence_penalty": 3}, "from -2 to 2"),
    ],
)
def test_a_parameter_out_of_bounds_is_refused(
    model: mlflow.pyfunc.PyFuncModel, params: dict[str, object], problem: str
) -> None:
    student = model.unwrap_python_model()
    with pytest.raises(VicurError, match=problem) as caught:
        student.predict(None, [{"question": "What?"}], params)
    assert caught.value.where == f"params.{next(iter(params))}"


def test_an_unknown_parameter_is_refused_by_name(model: mlflow.pyfunc.PyFuncModel) -> None:
    with pytest.raises(
        VicurError, match=r"no parameter .temprature.\. Did you mean .temperature.\? Use batch_size, max"
    ):
        model.unwrap_python_model().predict(None, [{"question": "What?"}], {"temprature": 1})


def test_limits_and_folder_can_be_set_when_the_model_is_loaded(
    students: Make, example: Example, tmp_path: Path
) -> None:
    folder = packed(students(GOOD)["student"], tmp_path / "model", example)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/scene.png").write_bytes(example.images[0])
    settings = {"limits": {"max_images": 1, "max_tokens": 2}, "image_folder": str(tmp_path / "pictures")}
    model = mlflow.pyfunc.load_model(str(folder), model_config=settings)
    assert error(model, question="What?", image=["scene.png"] * 2).startswith("image: has 2 images, but at most 1")
    assert ask(model, "scene.png") == ask(model, example.images[0])
    assert len(ask(model, "scene.png").split()) <= 2, "max_tokens also limits requests without a number"
    with pytest.raises(VicurError, match="max_rows"):
        mlflow.pyfunc.load_model(str(folder), model_config={"limits": {"max_rows": 0}})


def test_the_signature_describes_inputs_outputs_and_parameters(model: mlflow.pyfunc.PyFuncModel) -> None:
    signature = model.metadata.signature
    assert signature.inputs.input_names() == ["question", "image", "choices", "video", "messages"]
    assert signature.outputs.input_names() == ["answer", "response", "error"]
    assert {p.name: p.default for p in signature.params.params} == {
        **DECODING.model_dump(),
        "seed": 0,
        "batch_size": 32,
    }
