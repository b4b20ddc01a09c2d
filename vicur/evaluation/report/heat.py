"""Heat maps of the sink attention over the images: one cell per visual token, one map per layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vicur.data.schema import Example
from vicur.evaluation.attention import AttentionSample, ImageAttention, SinkAttentionRecord
from vicur.evaluation.report.images import PageImage, page_image
from vicur.evaluation.report.models import ReportModel

MEAN = "mean"
# Groups of a video's frames that are drawn.
_GROUPS = 6
# Cells of images with more visual tokens than this are too small for a number.
_NUMBERED = 48


@dataclass(frozen=True)
class Cell:
    """One visual token of an image.

    Attributes:
        x, y, width, height: its place, in percent of the image.
        shares: its share of the attention, in percent, by layer.
        heats: the same relative to the strongest token of the layer over the question's images, 0 to 1.
    """

    x: float
    y: float
    width: float
    height: float
    shares: dict[str, float]
    heats: dict[str, float]


@dataclass(frozen=True)
class HeatImage:
    """One image with the attention over it."""

    image: PageImage
    cells: tuple[Cell, ...]
    numbered: bool


@dataclass(frozen=True)
class HeatSample:
    """One question with the attention over its images."""

    example: Example
    images: tuple[HeatImage, ...]


@dataclass(frozen=True)
class HeatView:
    """Sink attention of one student."""

    model: ReportModel
    sink: str
    layers: tuple[str, ...]
    """``mean`` first, then the layers."""
    samples: tuple[HeatSample, ...]


def heat_view(model: ReportModel, record: SinkAttentionRecord, examples: Mapping[str, Example]) -> HeatView | None:
    """Prepare the record of a student for the templates; ``None`` if none of its samples can be drawn."""
    samples = [sample for s in record.samples if (sample := _sample(s, examples[s.example_id])) is not None]
    if not samples:
        return None
    layers = (MEAN, *(str(layer) for layer in record.samples[0].images[0].layers))
    return HeatView(model, record.sink, layers, tuple(samples))


def _sample(sample: AttentionSample, example: Example) -> HeatSample | None:
    if not sample.images:
        return None
    images = _shown(sample, example)
    if len(images) != len(sample.images):
        return None
    weights = [_with_mean(image) for image in sample.images]
    # "or 1.0" avoids a division by zero for a layer without any attention on the images.
    strongest = {layer: max((max(w[layer]) for w in weights), default=0.0) or 1.0 for layer in weights[0]}
    heat_images = [
        HeatImage(image, _cells(attention, weight, strongest), numbered=attention.rows * attention.columns <= _NUMBERED)
        for image, attention, weight in zip(images, sample.images, weights, strict=True)
        if image is not None
    ]
    return HeatSample(example, tuple(heat_images)) if heat_images else None


def _shown(sample: AttentionSample, example: Example) -> list[PageImage | None]:
    """Return the images of a sample. Of a video, these are the first frames of some of its groups, and ``None`` for the others."""
    if example.video is None:
        return [page_image(image) for image in example.images]
    groups = len(sample.images)
    step = math.ceil(len(example.images) / groups)
    chosen = {round(place * (groups - 1) / (_GROUPS - 1)) for place in range(_GROUPS)}
    return [page_image(image) if n in chosen else None for n, image in enumerate(example.images[::step])]


def _with_mean(image: ImageAttention) -> dict[str, list[float]]:
    layers = list(image.layers.values())
    mean = [sum(token) / len(layers) for token in zip(*layers, strict=True)]
    return {MEAN: mean, **{str(layer): weights for layer, weights in image.layers.items()}}


def _cells(
    image: ImageAttention, weights: Mapping[str, list[float]], strongest: Mapping[str, float]
) -> tuple[Cell, ...]:
    width, height = 100 / image.columns, 100 / image.rows
    return tuple(
        Cell(
            x=round(n % image.columns * width, 4),
            y=round(n // image.columns * height, 4),
            width=round(width, 4),
            height=round(height, 4),
            shares={layer: round(100 * w[n], 1) for layer, w in weights.items()},
            heats={layer: round(w[n] / strongest[layer], 3) for layer, w in weights.items()},
        )
        # Visual tokens are in raster order: n counts along the rows.
        for n in range(image.rows * image.columns)
    )
