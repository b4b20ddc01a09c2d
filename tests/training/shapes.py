"""A small dataset of another domain than digits: pictures of one coloured shape, with two questions about each."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from vicur.data.dataset import DatasetWriter
from vicur.data.schema import Example
from vicur.seeds import numpy_generator

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 220), "yellow": (230, 210, 50)}
SHAPES = ("circle", "square", "triangle")


def picture(colour: str, shape: str, place: tuple[int, int], size: int, noise: int) -> bytes:
    """Encode a picture of 48 x 48 pixels; each colour channel of the shape is shifted by up to ``noise``."""
    shift = numpy_generator(noise, *place, size).integers(-noise, noise + 1, 3)
    fill = tuple(int(min(255, max(0, value + change))) for value, change in zip(COLOURS[colour], shift, strict=True))
    image = Image.new("RGB", (48, 48), (235, 235, 225))
    draw = ImageDraw.Draw(image)
    x, y = place
    box = (x, y, x + size, y + size)
    if shape == "circle":
        draw.ellipse(box, fill)
    elif shape == "square":
        draw.rectangle(box, fill)
    else:
        draw.polygon([(x, y + size), (x + size, y + size), (x + size // 2, y)], fill)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def shape_examples(split: str, pictures: int, *, noise: int = 30) -> list[Example]:
    numbers = numpy_generator(0, "shapes", split)
    examples = []
    for n in range(pictures):
        colour, shape = str(numbers.choice(list(COLOURS))), str(numbers.choice(SHAPES))
        size = int(numbers.integers(12, 22))
        place = (int(numbers.integers(2, 46 - size)), int(numbers.integers(2, 46 - size)))
        image = picture(colour, shape, place, size, noise)
        cue = f"The picture shows a {colour} {shape}."
        for kind, question, answer in (
            ("colour", "What colour is the shape?", colour),
            ("shape", "Which shape is it?", shape),
        ):
            examples.append(
                Example(
                    id=f"{split}-{n}-{kind}",
                    images=(image,),
                    question=question,
                    answer=answer,
                    cue=cue,
                    rationale=cue,
                    source="shapes",
                    split=split,
                    metadata={"group": f"{split}-{n}", "kind": kind},
                )
            )
    return examples


def write_shapes(folder: Path, *, noise: int = 30, **pictures: int) -> Path:
    """Write a prepared dataset with this number of pictures in each split."""
    folder.mkdir(parents=True)
    writer = DatasetWriter(folder)
    for split, count in pictures.items():
        for example in shape_examples(split, count, noise=noise):
            writer.add(example)
    writer.finish({"type": "folder"}, None, skipped=0)
    return folder
