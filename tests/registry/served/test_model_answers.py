"""A registered model answers as the student was evaluated. ``test_register`` loads one in a new process."""

from __future__ import annotations

import base64
from pathlib import Path

import mlflow
import pandas as pd

from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from tests.registry.packing import DECODING, packed
from tests.videos import moving, png, video_file
from vicur.config.prompts import PromptConfig
from vicur.data import read_examples
from vicur.data.schema import Example
from vicur.evaluation.prompts import prompts_for
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.registry.served import Files


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


def test_a_registered_model_keeps_its_prompts(students: Make, example: Example, tmp_path: Path) -> None:
    prompts = PromptConfig(system="Be brief.", choices_template="{question}\n({letter}) {choice}")
    asked = example.model_copy(update={"choices": ("12", "7"), "answer": "B"})
    folder = packed(students(GOOD)["student"], tmp_path / "model", asked, prompts=prompts)
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.unwrap_python_model().student.chat.prompts == prompts
    assert "choices" in loaded.input_example.columns if loaded.input_example is not None else True
