"""Prompts about videos are those of transformers' processor and model, token by token and bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

import vicur.modeling
from vicur.config.video import VideoConfig
from vicur.data.images import encode_plain
from vicur.data.video.frames import frame_indices, timestamps
from vicur.modeling.chat import Chat
from vicur.modeling.videos import VideoProcessor
from vicur.modeling.vision import encode_images, encoder_outputs
from vicur.prompts import VideoPart

BASE = Path(vicur.modeling.__file__).parent / "tiny" / "base"
RECORDED = Path(__file__).parent / "data" / "video.safetensors"
# Ranges of frames and rates, as recorded by make_video.py.
SAMPLED = [(1, 24.0), (3, 1.0), (10, 5.0), (50, 24.0), (901, 29.97), (90000, 25.0)]


def recorded(case: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(RECORDED, "pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{case}.")]  # noqa: SIM118 (not a mapping)
        tensors = {name.partition(".")[2]: file.get_tensor(name) for name in names}
        return tensors, json.loads(file.metadata()["cases"])[case]


def chat_of(settings: dict[str, Any]) -> Chat:
    chat = Chat.load(BASE)
    capped = {"cap_pixels_per_frame": settings["capped"], "max_video_tokens": 4}
    return Chat(chat.tokenizer, chat.image_processor, None, VideoProcessor.of(chat.image_processor, capped))


@pytest.mark.parametrize("case", ["resized", "unchanged", "wide", "capped"])
def test_a_prompt_about_a_video_is_that_of_transformers(case: str) -> None:
    tensors, settings = recorded(case)
    chat = chat_of(settings)
    frames = [encode_plain(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in tensors["video"]]
    video = chat.video_pixels(frames, timestamps(settings["indices"], settings["fps"]))
    prompt = chat.prompt((VideoPart(), "which digit is red ?"), [video])

    assert video.grid == tuple(tensors["video_grid_thw"][0].tolist())
    assert torch.equal(video.patches(), tensors["pixel_values_videos"])
    assert list(prompt.ids) == tensors["input_ids"][0].tolist()
    assert list(prompt.types) == tensors["mm_token_type_ids"][0].tolist()
    assert torch.equal(prompt.positions, tensors["positions"])

    model = Qwen3VLForConditionalGeneration.from_pretrained(BASE, dtype=torch.float32)
    batch = chat.collate([prompt])
    with torch.no_grad():
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            mm_token_type_ids=batch.mm_token_type_ids,
            mm_encoder_outputs=encoder_outputs(encode_images(model, batch.pixels), batch.pixels),
            video_grid_thw=batch.video_grids,
        ).logits
    torch.testing.assert_close(logits[0], tensors["logits"], atol=2e-5, rtol=0)


def test_frames_are_sampled_as_transformers_does() -> None:
    with safe_open(RECORDED, "pt") as file:
        wanted = json.loads(file.metadata()["sampled"])
    assert [frame_indices(total, fps, VideoConfig()) for total, fps in SAMPLED] == wanted
