"""Whoever reads an image sees the same pixels: the trainer, the cue model, the reports and the servers."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import make_context
from vicur.config.base import BaseModelConfig
from vicur.config.cues import EndpointCues
from vicur.config.data import FolderConfig
from vicur.config.prompts import PixelBudget, PixelBudgets, PromptConfig
from vicur.cues import grid, samples
from vicur.cues.cue_model import CueModel
from vicur.data import prepare, read_examples
from vicur.data.schema import Example
from vicur.evaluation.report.images import page_image
from vicur.modeling.chat import Chat
from vicur.training.rollout import server


def photo() -> bytes:
    """Write a photo of 64 x 96 pixels that lies on its side."""
    scene = np.full((64, 96, 3), 90, dtype=np.uint8)
    scene[:16, :32] = (255, 120, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(scene), "JPEG", exif=exif, quality=95)


def drawing() -> bytes:
    """Write a black square on a transparent sheet."""
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (8, 8, 40, 24))
    return saved(image, "PNG")


def scan() -> bytes:
    """Write a 16-bit ramp."""
    return saved(Image.fromarray(np.linspace(0, 65535, 96).astype(np.uint16).reshape(1, 96).repeat(64, 0)), "TIFF")


def saved(image: Image.Image, format_: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **settings)
    return buffer.getvalue()


def decoded(url: str) -> np.ndarray:
    """Decode a data URL as any client would."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


@pytest.mark.parametrize(("write", "seen"), [(photo, (96, 64)), (drawing, (64, 64)), (scan, (64, 96))])
def test_all_readers_see_the_prepared_pixels(tmp_path, write, seen):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    source.mkdir()
    dataset.mkdir()
    (source / "image").write_bytes(write())
    row = {"id": "a", "images": ["image"], "question": "What?", "answer": "7", "split": "distill"}
    (source / "examples.jsonl").write_text(json.dumps(row))
    prepare(
        FolderConfig(path=source, required_splits=("distill",)),
        {"source": source},
        dataset,
        make_context(tmp_path / "work"),
    )
    (example,) = read_examples(dataset)
    (image,) = example.images
    expected = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    assert expected.shape == (*seen, 3)
    assert 20 < expected.mean() < 235

    assert np.array_equal(grid.decode(image), expected)
    request = CueModel(EndpointCues(url="http://localhost:1/v1", model="m"), 0).request(example)
    assert np.array_equal(decoded(request["messages"][1]["content"][0]["image_url"]["url"]), expected)
    assert np.array_equal(decoded(server._data_url(image)), expected)
    assert np.array_equal(decoded(samples._prepare(image)[0]), expected)
    assert np.array_equal(decoded(page_image(image).uri), expected)

    chat = Chat.load(BaseModelConfig().folder)
    patches = chat.pixels(image).patches()
    by_processor = chat.image_processor(images=[Image.fromarray(expected)], return_tensors="pt")["pixel_values"]
    assert np.array_equal(patches, by_processor)


def test_a_cue_model_gets_images_of_the_teachers_largest_size():
    prompts = PromptConfig(pixels=PixelBudgets(teacher=PixelBudget(max=1000)))
    model = CueModel(EndpointCues(url="http://localhost:1/v1", model="m"), 0, prompts)
    sizes = []
    for size in ((200, 100), (20, 10)):
        example = Example(
            id="a", images=(saved(Image.new("RGB", size), "PNG"),), question="?", answer="1", source="s", split="test"
        )
        url = model.request(example)["messages"][1]["content"][0]["image_url"]["url"]
        sizes.append(decoded(url).shape[:2])
    assert sizes == [(22, 44), (10, 20)]
