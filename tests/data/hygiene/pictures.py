"""Pictures and copies of them, for measuring near-duplicates."""

from __future__ import annotations

import io
import random
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vicur.config.data import DigitScenesConfig, Split
from vicur.data.digit_scenes import digit_pools
from vicur.data.rendering import COLOURS, render_scene
from vicur.seeds import numpy_generator


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def saved(image: Image.Image, kind: str = "JPEG", **options: int) -> Image.Image:
    """Return the image after saving and loading it."""
    return Image.open(io.BytesIO(encoded(image, kind, **options))).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)


def drawing(number: int, *, label: int | None = None, moved: float = 0.0) -> Image.Image:
    """Draw a labelled polygon in black on white. ``label`` replaces the first length, ``moved`` shifts the first corner."""
    draw = random.Random(number)  # noqa: S311
    image = Image.new("RGB", (400, 300), "white")
    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=18)
    corners = [(draw.uniform(20, 370), draw.uniform(20, 270)) for _ in range(3 + number % 2)]
    corners[0] = (corners[0][0] + moved, corners[0][1])
    canvas.polygon(corners, outline="black", width=2)
    for place, corner in enumerate(corners):
        following = corners[(place + 1) % len(corners)]
        length = draw.randint(10, 40)
        canvas.text(corner, "ABCD"[place], fill="black", font=font)
        middle = ((corner[0] + following[0]) / 2, (corner[1] + following[1]) / 2)
        canvas.text(middle, str(label if label is not None and place == 0 else length), fill="black", font=font)
    return image


@cache
def scenes(split: Split, count: int) -> list[tuple[Image.Image, Image.Image, Image.Image]]:
    """Return scenes of six digits, each with two variants: one digit is another one, and two digits have swapped colours."""
    config = DigitScenesConfig()
    hand, distortion = digit_pools(config)[split], config.pools[split].distortion
    result = []
    for number in range(count):
        rng = numpy_generator(0, "tests", split, number)
        picks = rng.integers(0, len(hand.ids), 6)
        place = number % 6
        others = np.flatnonzero(hand.labels != hand.labels[picks[place]])
        changed = picks.copy()
        changed[place] = others[number * 7 % len(others)]
        colours = list(COLOURS)
        swapped = colours.copy()
        swapped[place], swapped[place - 1] = swapped[place - 1], swapped[place]
        variants = [(picks, colours), (changed, colours), (picks, swapped)]
        images = [
            Image.fromarray(render_scene(hand.images[p], c, distortion, numpy_generator(1, "tests", split, number)))
            for p, c in variants
        ]
        result.append((images[0], images[1], images[2]))
    return result


@cache
def photos() -> list[Image.Image]:
    """Return parts of scikit-learn's two photos, none of which overlap."""
    from sklearn.datasets import load_sample_images

    result = []
    for pixels in load_sample_images().images:
        image = Image.fromarray(pixels)
        width, height = image.width // 3, image.height // 3
        result += [
            image.crop((x * width, y * height, (x + 1) * width, (y + 1) * height)) for x in range(3) for y in range(3)
        ]
    return result
