"""Sinks and visual tokens of the requests in a forward, from what vLLM holds of each request.

A response may hold any token, and after a preemption it is computed again together with its prompt. So sinks are looked for in prompts
alone, and visual tokens where vLLM puts the features of images: text that spells a special token stays text.

Axes: S requests whose prompts are in a forward and hold images, N visual tokens of the longest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.multimodal.inputs import PlaceholderRange

from vicur.errors import VicurError
from vicur.modeling.positions import CuePositions


@dataclass(frozen=True, eq=False)
class PromptCues:
    """Where cue recovery acts in one prompt.

    Attributes:
        sink: place of the sink in the prompt.
        visual_N: places of its visual tokens in order, at least one.
    """

    sink: int
    visual_N: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Slice:
    """What a forward holds of one request.

    Attributes:
        cues: of its prompt; none without images.
        start: place of its first token in the forward.
        computed: tokens of it that earlier forwards have computed.
        scheduled: tokens of it in the forward.
        prefill: tokens that it came with: its prompt, and after a preemption what it had answered.
    """

    cues: PromptCues | None
    start: int
    computed: int
    scheduled: int
    prefill: int


def prompt_cues(
    prompt_ids: Sequence[int], images: Sequence[PlaceholderRange], start_id: int | None
) -> PromptCues | None:
    """Finds the sink and the visual tokens of a prompt.

    Args:
        prompt_ids: tokens of the prompt, without what was answered.
        images: where vLLM puts the features of its images.
        start_id: id of ``<|im_start|>`` for sink ``assistant``; none for sink ``first``.

    Returns:
        Their places, or ``None`` where the prompt has no image.

    Raises:
        VicurError: where the prompt has images and no turn.
    """
    places = [_places(image) for image in images]
    if not places:
        return None
    visual_N = np.concatenate(places)
    if start_id is None:
        return PromptCues(0, visual_N)
    if start_id not in prompt_ids:
        raise no_turn()
    return PromptCues(max(place for place, token in enumerate(prompt_ids) if token == start_id), visual_N)


def no_turn() -> VicurError:
    """The error for a prompt in which sink ``assistant`` is not found."""
    return VicurError(
        "a prompt with images holds no <|im_start|>, where the sink of cue recovery would be.",
        where="prompt",
        remedy="Build prompts with the chat template, or train a student with sink 'first'.",
    )


def _places(image: PlaceholderRange) -> NDArray[np.int64]:
    places_N = np.arange(image.offset, image.offset + image.length)
    return places_N if image.is_embed is None else places_N[image.is_embed.numpy(force=True)]


def forward_positions(slices: Sequence[Slice], device: torch.device) -> CuePositions | None:
    """Positions in a forward over ``slices``, or ``None`` where it holds no prompt with images.

    Raises:
        VicurError: where it holds a part of such a prompt only.
    """
    sinks: list[int] = []
    visuals: list[NDArray[np.int64]] = []
    for part in slices:
        if part.cues is None or part.computed >= part.prefill:
            continue
        if part.computed > 0 or part.scheduled < part.prefill:
            raise VicurError(
                f"a forward holds the tokens {part.computed} to {part.computed + part.scheduled} of a prompt of {part.prefill} with "
                "images, and cue recovery needs all at once.",
                where="a student with cue recovery in vLLM",
                remedy="Start the engine with the arguments of vicur_vllm.engine_arguments, and send prompts whole.",
            )
        sinks.append(part.start + part.cues.sink)
        visuals.append(part.start + part.cues.visual_N)
    if not sinks:
        return None
    count_S = np.array([len(visual_N) for visual_N in visuals])
    valid_SN = np.arange(count_S.max()) < count_S[:, None]
    # Filled up with the first, as in vicur.modeling.positions.
    visual_SN = np.repeat([[visual_N[0]] for visual_N in visuals], count_S.max(), axis=1)
    visual_SN[valid_SN] = np.concatenate(visuals)
    return CuePositions(
        torch.tensor(sinks, device=device), torch.from_numpy(visual_SN).to(device), torch.from_numpy(valid_SN).to(device)
    )
