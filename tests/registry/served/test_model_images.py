"""Images that callers pass to a registered model in their process."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.registry.conftest import Make
from tests.registry.factory import GOOD
from tests.registry.packing import packed
from tests.registry.served.asking import ask, error
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.data.schema import Example
from vicur.registry.served import Files


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
