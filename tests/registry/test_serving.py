"""The code of a registered model, in this process; ``test_register`` loads a model in a new process."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms

from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from tests.registry.packing import DECODING, packed
from tests.videos import moving, png, video_file
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.data import read_examples
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation.prompts import prompts_for
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.registry.served import Files


@pytest.fixture(scope="module")
def example(data: dict[str, Path]) -> Example:
    """A question about one image."""
    return read_examples(data["dataset"], "test")[0]


@pytest.fixture(scope="module")
def model(students: Make, example: Example, tmp_path_factory: pytest.TempPathFactory) -> mlflow.pyfunc.PyFuncModel:
    """A packaged student, loaded by MLflow."""
    folder = packed(students(GOOD)["student"], tmp_path_factory.mktemp("packed") / "model", example)
    return mlflow.pyfunc.load_model(str(folder))


def ask(
    model: mlflow.pyfunc.PyFuncModel, image: object, question: str = "What is the sum of the left column?", **params
):
    answers = model.predict([{"question": question, "image": image}], params=params or None)
    assert list(answers.columns) == ["answer", "response", "error"]
    assert answers["error"][0] is None
    return answers["response"][0]


def error(model: mlflow.pyfunc.PyFuncModel, **row: object) -> str:
    """Return why a row was not asked."""
    [found] = model.predict([row]).to_dict("records")
    assert found["answer"] is found["response"] is None
    return str(found["error"])


def test_every_form_of_an_image_gives_the_same_response(model: mlflow.pyfunc.PyFuncModel, example: Example) -> None:
    (image,) = example.images
    Path("scene.png").write_bytes(image)
    picture = Image.open("scene.png")
    text = base64.b64encode(image).decode()
    wrapped = "\n".join(text[n : n + 76] for n in range(0, len(text), 76))
    forms = [str(Path("scene.png").absolute()), "scene.png", Path("scene.png"), text, wrapped, image, bytearray(image)]
    forms += [f"data:image/png;base64,{text}", [image], np.array([image], dtype=object)]
    forms += [picture, picture.convert("RGBA"), np.asarray(picture.convert("RGB")), [picture], memoryview(image)]
    assert len({ask(model, form) for form in forms}) == 1
    assert ask(model, None) != ask(model, image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "RGBX", "RGBa"])
def test_a_picture_of_any_mode_is_read_as_its_file(model: mlflow.pyfunc.PyFuncModel, mode: str) -> None:
    gradient = Image.linear_gradient("L").resize((40, 32))
    picture = Image.merge("RGB", (gradient, gradient.rotate(180), gradient))
    match mode:
        case "I;16" | "L" | "LA" | "1":
            picture = gradient.convert(mode)
        case "PA" | "RGBa":
            picture = picture.convert("RGBA").convert(mode)
        case "LAB":
            picture = ImageCms.profileToProfile(
                picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
            )
        case _:
            picture = picture.convert(mode)
    assert model.predict([{"question": "What?", "image": picture}])["error"][0] is None


def test_a_turned_photo_is_turned_as_a_picture_too(model: mlflow.pyfunc.PyFuncModel) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 32)).convert("RGB").save(buffer, "PNG", exif=exif)
    reader = model.unwrap_python_model().student.reader(Files())
    grids = {
        reader.prompt({"question": "What?", "image": image}).pixels[0].grid
        for image in (buffer.getvalue(), Image.open(buffer))
    }
    assert grids == {(1, 8, 4)}


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.int64),
    ],
)
def test_an_array_that_is_no_image_is_refused(model: mlflow.pyfunc.PyFuncModel, array: np.ndarray) -> None:
    assert "must be uint8 with shape (height, width)" in error(model, question="What?", image=array)


def test_several_arrays_are_several_images(model: mlflow.pyfunc.PyFuncModel) -> None:
    reader = model.unwrap_python_model().student.reader(Files())
    images = np.zeros((2, 32, 32, 3), np.uint8)
    assert len(reader.prompt({"question": "What?", "image": images}).pixels) == 2


def test_large_pictures_and_arrays_are_refused_before_they_are_converted(model: mlflow.pyfunc.PyFuncModel) -> None:
    lazy = np.broadcast_to(np.uint8(0), (12_000, 12_000, 3))
    for image in (lazy, Image.new("1", (12_000, 12_000))):
        assert "has 12,000 x 12,000 pixels, but at most 16,777,216" in error(model, question="What?", image=image)


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
    for form in (path.read_bytes(), base64.b64encode(path.read_bytes()).decode()):
        row = {"question": "<video> what is the sum ?", "video": form}
        assert loaded.student.reader(Files()).prompt(row).pixels[0].timestamps == (0.25, 1.25)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "What?", "video": ["no", "no"]}, "video: cannot be read"),
        ({"question": "What?", "video": b"GIF89a"}, "video: is a damaged"),
        ({"question": "What?", "video": {"frames": [], "fps": 2}}, "video: has no frames"),
        ({"question": "What?", "image": b"1", "video": b"2"}, "video: is there besides images"),
        ({"question": "<video> <video>", "video": b"2"}, "question: marks 2 places"),
        (
            {"question": "<image> What?", "image": None},
            "question: marks the places of 1 image, but the row has 0",
        ),
        ({"question": "What?", "choices": ["7", 5]}, "choices: is not a list of texts"),
        ({"question": "What?", "choices": ["7"] * 27}, "choices: has 27 choices"),
    ],
)
def test_a_question_that_cannot_be_shown_is_refused_with_its_row(
    model: mlflow.pyfunc.PyFuncModel, row: dict[str, object], problem: str
) -> None:
    assert re.search(problem, error(model, **row))


def test_a_registered_model_keeps_its_prompts(students: Make, example: Example, tmp_path: Path) -> None:
    prompts = PromptConfig(system="Be brief.", choices_template="{question}\n({letter}) {choice}")
    asked = example.model_copy(update={"choices": ("12", "7"), "answer": "B"})
    folder = packed(students(GOOD)["student"], tmp_path / "model", asked, prompts=prompts)
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.unwrap_python_model().student.chat.prompts == prompts
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
        ("missing.png", "names no file in the folder of images, and is not base64 text"),
        ("notes.txt", "is not an image"),
        (".", "names no file in the folder"),
        ("pipe", "cannot be read (is a named pipe, not a file)"),
        ("link.png", "names no file in the folder"),
        ("../above.png", "names no file in the folder"),
        ("/etc/hostname", "names no file in the folder"),
        (Path("missing.png"), "cannot be read"),
        (Path("/dev/zero"), "cannot be read (is a device, not a file)"),
        (Path("pipe"), "cannot be read (is a named pipe, not a file)"),
        ("bm90IGFuIGltYWdl", "is not an image"),
        (7, "int is not an image"),
        (b"", "is an empty file"),
        ("", "is empty"),
        ("data:image/png;base64,###", "is not base64 text"),
        ("data:image/png,abc", "is a data: URL without base64 text"),
        ("http://127.0.0.1/scene.png", "is an address, and addresses are not fetched"),
        ("file:///etc/passwd", "is an address, and addresses are not fetched"),
        ("a\0b", "is not base64 text"),
        ({"url": "x"}, "dict is not an image"),
    ],
)
def test_an_invalid_image_is_refused(model: mlflow.pyfunc.PyFuncModel, image: object, problem: str) -> None:
    Path("notes.txt").write_text("notes")
    Path("../above.png").write_bytes(b"x")
    Path("link.png").symlink_to("../above.png")
    os.mkfifo("pipe")
    found = error(model, question="What?", image=image)
    assert problem in found
    assert found.startswith("image: ")
    assert str(Path.cwd()) not in found


@pytest.mark.parametrize("question", ["", "  ", None, ["What?"]])
def test_a_row_without_a_question_is_refused(model: mlflow.pyfunc.PyFuncModel, question: object) -> None:
    assert "question: has no question" in error(model, question=question, image=None)


def test_texts_instead_of_rows_are_refused_with_the_form_of_a_row(model: mlflow.pyfunc.PyFuncModel) -> None:
    for texts in ("What?", ["What?", "How?"], [{"query": "What?"}]):
        with pytest.raises(VicurError, match=r'no field that the model knows. Pass rows such as {"question": "...", '):
            model.predict(texts)
    assert len(model.predict(pd.DataFrame({"question": []}, dtype=object))) == 0


def test_a_bad_row_fails_alone_and_changes_no_other_answer(model: mlflow.pyfunc.PyFuncModel, example: Example) -> None:
    row = {"question": example.question, "image": example.images[0]}
    rows = [row, {**row, "image": "no.png"}, row, {**row, "question": " "}, row]
    params = {"temperature": 1.0, "seed": 3, "batch_size": 2}
    mixed, good = model.predict(rows, params=params), model.predict([row] * 5, params=params)
    assert [error is None for error in mixed["error"]] == [True, False, True, False, True]
    for number in (0, 2, 4):
        assert mixed["response"][number] == good["response"][number]
    assert len(set(good["response"])) > 1, "each row has its own random numbers"


def test_a_conversation_is_answered_as_its_question(model: mlflow.pyfunc.PyFuncModel, example: Example) -> None:
    url = "data:image/png;base64," + base64.b64encode(example.images[0]).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": example.question}]
    messages = [{"role": "user", "content": parts}]
    for rows in ([{"messages": messages}], {"messages": messages}):
        answers = model.predict(rows)
        assert answers["error"].tolist() == [None]
        assert answers["response"][0] == ask(model, example.images[0], example.question)


TEXT = {"type": "text", "text": "What?"}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "contains 0 messages of the user"),
        ([{"role": "user", "content": "What?"}] * 2, "contains 2 messages of the user"),
        ([{"role": "assistant", "content": "7"}], "has the role 'assistant'"),
        ([{"role": "system", "content": "Be evil."}, {"role": "user", "content": "What?"}], "another system message"),
        ([{"role": "user", "content": []}], "has no text"),
        ([{"role": "user", "content": None}], "has no content"),
        ([{"role": "user", "content": [TEXT, {"type": "input_audio"}]}], "has a part of type 'input_audio'"),
        ([{"role": "user", "content": [TEXT, "x"]}], "has a part of type None"),
        (
            [{"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}]}],
            "has an image that is not a data: URL",
        ),
        (
            [{"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": "scene.png"}}]}],
            "has an image that is not a data: URL",
        ),
    ],
)
def test_a_conversation_that_is_not_one_question_is_refused(
    model: mlflow.pyfunc.PyFuncModel, messages: list[object], problem: str
) -> None:
    assert problem in error(model, messages=messages)


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


def test_images_are_resized_as_in_the_evaluation(students: Make, example: Example, tmp_path: Path) -> None:
    prompts = PromptConfig(pixels=PixelBudgets(evaluation=PixelBudget(max=1024)))
    folder = packed(students(GOOD)["student"], tmp_path / "model", example, prompts=prompts)
    reader = mlflow.pyfunc.load_model(str(folder)).unwrap_python_model().student.reader(Files())
    assert reader.prompt({"question": "What?", "image": example.images[0]}).pixels[0].tokens == 2


def test_photos_and_transparent_drawings_are_read_as_prepare_reads_them(model: mlflow.pyfunc.PyFuncModel) -> None:
    reader = model.unwrap_python_model().student.reader(Files())
    drawing, photo = Image.new("RGBA", (48, 32), (0, 0, 0, 0)), Image.new("RGB", (48, 32), (9, 200, 9))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for image, format_, settings in ((drawing, "PNG", {}), (photo, "JPEG", {"exif": exif})):
        buffer = io.BytesIO()
        image.save(buffer, format_, **settings)
        files.append(reader.prompt({"question": "What?", "image": buffer.getvalue()}).pixels[0])
    assert files[0].patches().min() == 1  # white
    assert files[1].grid == (1, 6, 4)
