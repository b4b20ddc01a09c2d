"""Trains the vision tower of a tiny base on images alone, before it is trained on responses.

An untrained tower gives the text model nothing to use, so that a model trained on responses at once first learns to answer without looking.
Three linear heads, which are discarded, ask of the visual tokens what questions are about: the colours within each token (16 of them), its
place in the image, and, of all tokens together, which words the annotations of the image contain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.tiny_base import TinyRecipe
from vicur.data.schema import Example
from vicur.modeling.chat import Pixels
from vicur.modeling.scoring import text_config
from vicur.modeling.vision import encode_images
from vicur.seeds import numpy_generator
from vicur.training.examples import PixelStore
from vicur.training.from_scratch import cosine, optimizer, update
from vicur.training.scratch_checkpoints import ScratchCheckpoints, Trained

_COLOURS = 16
"""Places in a visual token whose mean colour is predicted: 4 x 4."""


@dataclass(frozen=True, eq=False)
class Described:
    """An example with the ids of the tokens that the annotations of its images contain."""

    example: Example
    words: frozenset[int]


def train_vision(
    model: Qwen3VLForConditionalGeneration,
    described: Sequence[Described],
    images: PixelStore,
    config: TinyRecipe,
    on_step: Callable[[int, float], None],
    checkpoints: ScratchCheckpoints | None = None,
) -> None:
    """Train the vision tower on the images of examples.

    Args:
        on_step: called after each step with its number, from 1, and a running mean of the loss.
    """
    words = sorted(set[int]().union(*(each.words for each in described)))
    columns = {word: column for column, word in enumerate(words)}
    hidden = text_config(model).hidden_size
    token_head = nn.Linear(hidden, _COLOURS * 3 + 2)
    word_head = nn.Linear(2 * hidden, len(words))
    modules = nn.ModuleDict({"visual": model.model.visual, "tokens": token_head, "words": word_head})
    adam = optimizer(list(modules.parameters()), config.vision_learning_rate, config)
    numbers = numpy_generator(config.seed, "dataset_base", "vision")
    trained = Trained(modules, adam, numbers)
    start, average = (0, 0.0) if checkpoints is None else checkpoints.resume("vision", trained)
    for step in range(start, config.vision_steps):
        drawn = [described[n] for n in numbers.integers(0, len(described), config.batch_size)]
        pairs = [(pixels, row.words) for row in drawn for pixels in images.of(row.example)]
        features = encode_images(model, [pixels for pixels, _ in pairs])
        tokens = [features[pixels.key].tokens_NH for pixels, _ in pairs]
        targets_NC = torch.cat([_contents(pixels) for pixels, _ in pairs])
        loss = nn.functional.mse_loss(token_head(torch.cat(tokens)), targets_NC)
        if words:
            summaries_I2H = torch.stack([torch.cat([each.mean(0), each.amax(0)]) for each in tokens])
            loss = loss + nn.functional.binary_cross_entropy_with_logits(
                word_head(summaries_I2H), _contained([each for _, each in pairs], columns)
            )
        update(adam, loss, config.vision_learning_rate * cosine(step / config.vision_steps), config)
        average = 0.95 * average + 0.05 * float(loss.detach()) if step else float(loss.detach())
        if checkpoints is not None:
            checkpoints.save("vision", trained, step + 1, average)
        on_step(step + 1, average)


def _contents(pixels: Pixels) -> Tensor:
    """Return the colours of each visual token, from -1 to 1, and its row and column, likewise [N, 50]."""
    _frames, rows, columns = pixels.token_grid
    # Patches have the order of their tokens, four by four.
    patches = pixels.patches()
    side = round((patches.shape[1] // 6) ** 0.5)
    colours = patches.reshape(-1, 3, 2, side, side)[:, :, 0]
    colours = nn.functional.avg_pool2d(colours, side // 2).reshape(pixels.tokens, _COLOURS * 3)
    down, across = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    places = torch.stack([down.flatten(), across.flatten()], dim=1).repeat(pixels.tokens // (rows * columns), 1)
    return torch.cat([colours, places], dim=1)


def _contained(words: Sequence[frozenset[int]], columns: Mapping[int, int]) -> Tensor:
    """Return 1 for each word of each image, else 0 [images, words]."""
    contained = torch.zeros(len(words), len(columns))
    for place, row in enumerate(words):
        contained[place, [columns[word] for word in row]] = 1.0
    return contained
