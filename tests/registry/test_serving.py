"""The code of a registered model, in this process; ``test_register`` loads a model in a new process."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from tests.videos import moving, png, video_file
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.config.sampling import Sampling
from vicur.data import read_examples
from vicur.data.schema import Example
from vicur.evaluation.prompts import prompts_for
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.registry.package import pack
from vicur.registry.serving import image_bytes

DECODING = Sampling(temperature=0.0, max_new_tokens=6)


@pytest.fixture(scope="module")
def example(data: dict[str, Path]) -> Example:
    """A question about one image."""
    return read_examples(data["dataset"], "test")[0]


@pytest.fixture(scope="module")
def model(students: Make, example: Example, tmp_path_factory: pytest.TempPathFactory) -> mlflow.pyfunc.PyFuncModel:
    """A packaged student, loaded by MLflow."""
    folder = pack(
        students(GOOD)["student"],
        tmp_path_factory.mktemp("packed") / "model",
        decoding=DECODING.model_dump(mode="json"),
        prompts=PromptConfig(),
        example=example,
        facts={},
        model_id="m-" + "0" * 32,
        run_id=None,
    )
    return mlflow.pyfunc.load_model(str(folder))


def ask(
    model: mlflow.pyfunc.PyFuncModel, image: object, question: str = "What is the sum of the left column?", **params
):
    answers = model.predict([{"question": question, "image": image}], params=params or None)
    assert list(answers.columns) == ["answer", "response"]
    return answers["response"][0]


def test_every_form_of_an_image_gives_the_same_response(
    model: mlflow.pyfunc.PyFuncModel, example: Example, tmp_path: Path
) -> None:
    (image,) = example.images
    (tmp_path / "scene.png").write_bytes(image)
    text = base64.b64encode(image).decode()
    wrapped = "\n".join(text[n : n + 76] for n in range(0, len(text), 76))
    forms = [str(tmp_path / "scene.png"), "scene.png", tmp_path / "scene.png", text, wrapped, image, bytearray(image)]
    forms += [f"data:image/png;base64,{text}", [image], np.array([image], dtype=object)]
    assert len({ask(model, form) for form in forms}) == 1


def test_answers_equal_those_of_the_evaluation(
    model: mlflow.pyfunc.PyFuncModel, students: Make, data: dict[str, Path]
) -> None:
    examples = read_examples(data["dataset"], "test")[:5]
    folder = students(GOOD)["student"]
    chat = Chat.load(folder)
    expected = generate(load_model(folder), chat, prompts_for(chat, examples), DECODING, seed=0)
    table = pd.DataFrame([{"question": e.question, "image": e.images[0]} for e in examples])
    assert model.predict(table)["response"].tolist() == [response.text for response in expected]


def test_choices_and_places_of_images_are_asked_as_in_the_evaluation(
    model: mlflow.pyfunc.PyFuncModel, students: Make, data: dict[str, Path]
) -> None:
    first, second = read_examples(data["dataset"], "test")[:2]
    example = first.model_copy(
        update={
            "images": (*first.images, *second.images),
            "question": "What is the sum <image 2> of the left column <image 1>?",
            "choices": ("12", "7"),
            "answer": "B",
        }
    )
    folder = students(GOOD)["student"]
    chat = Chat.load(folder)
    [prompt] = prompts_for(chat, [example])
    [expected] = generate(load_model(folder), chat, [prompt], DECODING, seed=0)
    row = {"question": example.question, "image": [*example.images], "choices": [*example.choices]}
    assert model.predict([row])["response"].tolist() == [expected.text]
    # One row with choices and one without, as a table has them.
    table = pd.DataFrame([row, {"question": first.question, "image": first.images[0], "choices": None}], dtype=object)
    assert model.predict(table)["response"][0] == expected.text


def test_a_video_is_answered_as_in_the_evaluation(
    model: mlflow.pyfunc.PyFuncModel, students: Make, data: dict[str, Path], tmp_path: Path
) -> None:
    pictures = moving("up", "red", frames=4)
    film = read_examples(data["dataset"], "test")[0].model_copy(
        update={
            "images": tuple(map(png, pictures)),
            "metadata": {"video": {"timestamps": [0.0, 0.5, 1.0, 1.5], "fps": 2.0}},
        }
    )
    folder = students(GOOD)["student"]
    chat = Chat.load(folder)
    [prompt] = prompts_for(chat, [film])
    [expected] = generate(load_model(folder), chat, [prompt], DECODING, seed=0)
    frames = [base64.b64encode(image).decode() for image in film.images]
    for video in (frames, {"frames": frames, "fps": 2}, [*film.images]):
        answer = model.predict([{"question": film.question, "image": None, "video": video}])
        assert answer["response"].tolist() == [expected.text]
    loaded = model.unwrap_python_model()
    path = video_file(tmp_path / "a.mp4", pictures, fps=2)
    for form in (path, path.read_bytes(), base64.b64encode(path.read_bytes()).decode()):
        row = {"question": "<video> what is the sum ?", "video": form}
        assert loaded._prompt(row, 0).pixels[0].timestamps == (0.25, 1.25)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "What?", "video": ["no", "no"]}, "row 0, video: cannot be read"),
        ({"question": "What?", "video": b"GIF89a"}, "row 0, video: is a damaged"),
        ({"question": "What?", "video": {"frames": [], "fps": 2}}, "row 0, video: has no frames"),
        ({"question": "What?", "image": b"1", "video": b"2"}, "row 0, video: is there besides images"),
        ({"question": "<video> <video>", "video": b"2"}, "row 0, question: marks 2 places"),
        (
            {"question": "<image> What?", "image": None},
            "row 0, question: marks the places of 1 image, but the row has 0",
        ),
        ({"question": "What?", "choices": ["7", 5]}, "row 0, choices: is not a list of texts"),
        ({"question": "What?", "choices": ["7"] * 27}, "row 0, choices: has 27 choices"),
    ],
)
def test_a_question_that_cannot_be_shown_is_refused_with_its_row(
    model: mlflow.pyfunc.PyFuncModel, row: dict[str, object], problem: str
) -> None:
    with pytest.raises(Exception, match=problem):
        model.predict([row])


def test_a_registered_model_keeps_its_prompts(students: Make, example: Example, tmp_path: Path) -> None:
    prompts = PromptConfig(system="Be brief.", choices_template="{question}\n({letter}) {choice}")
    asked = example.model_copy(update={"choices": ("12", "7"), "answer": "B"})
    folder = pack(
        students(GOOD)["student"],
        tmp_path / "model",
        decoding=DECODING.model_dump(mode="json"),
        prompts=prompts,
        example=asked,
        facts={},
        model_id="m-" + "1" * 32,
        run_id=None,
    )
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.unwrap_python_model()._chat.prompts == prompts
    assert "choices" in loaded.input_example.columns if loaded.input_example is not None else True


def test_a_question_without_an_image_is_answered(model: mlflow.pyfunc.PyFuncModel) -> None:
    for rows in ([{"question": "What?"}], [{"question": "What?", "image": None}]):
        assert len(model.predict(rows)) == 1
    table = pd.DataFrame({"question": ["What?", "What?"], "image": [None, float("nan")]}, dtype=object)
    assert len(model.predict(table)) == 2


def test_parameters_change_the_decoding(model: mlflow.pyfunc.PyFuncModel, example: Example) -> None:
    image = example.images[0]
    sampled = [ask(model, image, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert len(ask(model, image, max_new_tokens=1).split()) <= 1


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("missing.png", "no such file, and not base64 text"),
        ("notes.txt", "is not an image"),
        (".", "Is a directory"),
        ("bm90IGFuIGltYWdl", "is not an image"),
        (7, "int is not an image"),
        (b"", "is an empty file"),
        ("", "Is a directory"),
        ("data:image/png;base64,###", "not base64 text"),
        ("a\0b", "cannot be read"),
    ],
)
def test_an_invalid_image_is_refused_with_its_row(
    model: mlflow.pyfunc.PyFuncModel, image: object, problem: str
) -> None:
    Path("notes.txt").write_text("notes")
    with pytest.raises(
        Exception, match=r"row 0, image: .*(Pass a path, base64 text, or the bytes|Replace the file)"
    ) as caught:
        ask(model, image)
    assert type(caught.value).__name__ == "VicurError"
    assert problem in str(caught.value)


@pytest.mark.parametrize("question", ["", "  "])
def test_a_blank_question_is_refused_with_its_row(model: mlflow.pyfunc.PyFuncModel, question: str) -> None:
    with pytest.raises(Exception, match="row 0, question: has no question"):
        ask(model, None, question)


def test_an_invalid_parameter_is_refused(model: mlflow.pyfunc.PyFuncModel) -> None:
    with pytest.raises(Exception, match="temperature"):
        ask(model, None, temperature=-1.0)


def test_a_server_can_reject_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    Path("scene.png").write_bytes(picture.getvalue())
    assert image_bytes("scene.png") == picture.getvalue()
    monkeypatch.setenv("VICUR_SERVE_PATHS", "0")
    with pytest.raises(ValueError, match="not base64 text"):
        image_bytes("scene.png")
    assert image_bytes(base64.b64encode(picture.getvalue()).decode()) == picture.getvalue()


def test_the_signature_describes_inputs_outputs_and_parameters(model: mlflow.pyfunc.PyFuncModel) -> None:
    signature = model.metadata.signature
    assert signature.inputs.input_names() == ["question", "image", "choices", "video"]
    assert signature.outputs.input_names() == ["answer", "response"]
    assert {p.name: p.default for p in signature.params.params} == {
        **DECODING.model_dump(),
        "seed": 0,
        "batch_size": 32,
    }


def test_images_are_resized_as_in_the_evaluation(students: Make, example: Example, tmp_path: Path) -> None:
    prompts = PromptConfig(pixels=PixelBudgets(evaluation=PixelBudget(max=1024)))
    folder = pack(
        students(GOOD)["student"],
        tmp_path / "model",
        decoding=DECODING.model_dump(mode="json"),
        prompts=prompts,
        example=example,
        facts={},
        model_id="m-" + "0" * 32,
        run_id=None,
    )
    model = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()
    assert model._pixels(example.images[0], 0).tokens == 2


def test_photos_and_transparent_drawings_are_read_as_prepare_reads_them(model: mlflow.pyfunc.PyFuncModel) -> None:
    chat = model.unwrap_python_model()
    drawing, photo = Image.new("RGBA", (48, 32), (0, 0, 0, 0)), Image.new("RGB", (48, 32), (9, 200, 9))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for image, format_, settings in ((drawing, "PNG", {}), (photo, "JPEG", {"exif": exif})):
        buffer = io.BytesIO()
        image.save(buffer, format_, **settings)
        files.append(chat._pixels(buffer.getvalue(), 0))
    assert files[0].patches().min() == 1  # white
    assert files[1].grid == (1, 6, 4)
