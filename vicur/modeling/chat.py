"""Conversion of questions and images to token ids and back. All prompts are built here.

Uses the checkpoint's own chat template and image processor, with two differences from a processor's call:

- The template may contain control tokens; user text must not. The template is rendered around slots for the user's text, and each text
  is tokenized separately with special tokens split, so ``<|im_start|>`` in a question stays text.
- An image is processed once and shared by all prompts that contain it (the student's and the teacher's with its hint).

Loads tokenizer and image processor separately, because ``AutoProcessor`` requires torchvision for videos.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vicur.config.prompts import PromptConfig, PromptUse
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.mrope import IMAGE, VIDEO, mrope_positions
from vicur.modeling.pixels import PixelReader, Pixels
from vicur.modeling.template_slots import slot, split_slots
from vicur.modeling.videos import VideoProcessor
from vicur.prompts import Content, ContentError, ImagePart, Part, VideoPart, content_of

__all__ = ["Batch", "Chat", "Pixels", "Prompt"]

_CONTROL = re.compile(r"^<\|.*\|>$")


@dataclass(frozen=True, eq=False)
class Prompt:
    """A tokenized prompt up to and including the assistant header."""

    ids: tuple[int, ...]  # with expanded placeholders of images and videos
    types: tuple[int, ...]  # IMAGE or VIDEO at visual tokens, else 0
    pixels: tuple[Pixels, ...]  # in the order of their tokens

    @cached_property
    def positions(self) -> Tensor:
        """Positions of the tokens for M-RoPE [3, P]."""
        return mrope_positions(self.types, [grid for visual in self.pixels for grid in visual.run_grids])

    @property
    def short_ids(self) -> list[int]:
        """Token ids with one placeholder per image, as vLLM expects them: it expands placeholders itself.

        Raises:
            VicurError: if the prompt has a video.
        """
        require_no_video(self.pixels)
        images = iter(self.pixels)
        ids: list[int] = []
        skip = 0
        for token, kind in zip(self.ids, self.types, strict=True):
            if kind and skip:
                skip -= 1
                continue
            ids.append(token)
            if kind:
                skip = next(images).tokens - 1
        return ids


def require_no_video(pixels: Sequence[Pixels]) -> None:
    """Check that vLLM can take these visuals: this project does not pass videos to it.

    Raises:
        VicurError: if one of them is a video.
    """
    if any(visual.is_video for visual in pixels):
        raise VicurError(
            "vLLM does not get videos from this project, but a prompt has one.",
            remedy="Generate with transformers: remove the setting of the engine.",
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts, left-padded, each with its response, right-padded."""

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # 1 at tokens, 0 at padding [B, T]
    mm_token_type_ids: Tensor  # IMAGE or VIDEO at visual tokens, else 0 [B, T]
    # Positions for M-RoPE, arbitrary at padding [3, B, T]. Passed to every forward, because a model would otherwise
    # keep those of its last call as state.
    position_ids: Tensor
    response_mask: Tensor  # true at response tokens [B, R], R = T - prompt_length
    prompt_length: int  # columns before the first response token
    pixels: tuple[Pixels, ...]  # all images and videos of all rows, in order

    @property
    def grids(self) -> Tensor | None:
        """Patches in time, height and width of each image [I, 3], or ``None`` without images."""
        return self._grids([p.grid for p in self.pixels if not p.is_video])

    @property
    def video_grids(self) -> Tensor | None:
        """Patches in time, height and width of each video [V, 3], or ``None`` without videos."""
        return self._grids([p.grid for p in self.pixels if p.is_video])

    def _grids(self, grids: list[tuple[int, int, int]]) -> Tensor | None:
        return torch.tensor(grids, dtype=torch.long, device=self.input_ids.device) if grids else None


class Chat:
    """Builds prompts for one checkpoint, as ``prompts`` say, and decodes its responses."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: Any,
        prompts: PromptConfig | None = None,
        video_processor: VideoProcessor | None = None,  # by default, with the settings of images
    ) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.prompts = prompts or PromptConfig()
        self.video_processor = video_processor or VideoProcessor.of(image_processor)
        self._reader = PixelReader(image_processor, self.video_processor)
        self._templates: dict[tuple[int, ...], tuple[tuple[int, ...] | int, ...]] = {}
        self.end_id = self._id("<|im_end|>")
        self.start_id = self._id("<|im_start|>")
        self.image_id = self._id("<|image_pad|>")
        pad = tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)

    @classmethod
    def load(cls, folder: Path, prompts: PromptConfig | None = None) -> Chat:
        """Load tokenizer and image processor of a checkpoint. Neither downloads anything nor runs remote code.

        Raises:
            VicurError: if the folder lacks them.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            processor = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise VicurError(
                f"the folder has no tokenizer and image processor of a Qwen3-VL checkpoint ({str(error).splitlines()[0]}).",
                where=str(folder),
                remedy="Use a folder that was written by save_pretrained, with tokenizer.json and preprocessor_config.json.",
            ) from error
        return cls(tokenizer, processor, prompts, VideoProcessor.load(folder, processor))

    def save(self, folder: Path) -> None:
        """Save tokenizer and processors next to a checkpoint."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        self.video_processor.save(folder)

    def pixel_range(self, use: PromptUse) -> dict[str, int]:
        """Return the smallest and largest size of an image in prompts of a use, as the setting ``size`` of image processors."""
        return self._reader.size(self.prompts.pixels.of(use))

    def _id(self, token: str) -> int:
        index = self.tokenizer.convert_tokens_to_ids(token)
        if not isinstance(index, int) or index == self.tokenizer.unk_token_id:
            raise VicurError(
                f"the tokenizer has no token {token}, which prompts need.",
                remedy="Use the tokenizer of a Qwen3-VL checkpoint.",
            )
        return index

    @cached_property
    def _video_ids(self) -> tuple[int, int, int]:
        """Ids of the tokens that begin, fill and end a group of frames."""
        return self._id("<|vision_start|>"), self._id("<|video_pad|>"), self._id("<|vision_end|>")

    def forbidden_ids(self, vocabulary: int) -> Tensor:
        """Return the sorted ids that are never sampled [F]. Every score excludes them from its distribution.

        These are vision placeholders, control tokens other than the end of turn, padding, the unknown token, and rows of an output layer
        with ``vocabulary`` rows that have no token in the tokenizer.
        """
        ids = {
            index
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or _CONTROL.match(token.content)
        }
        ids |= {i for i in (self.tokenizer.unk_token_id, self.pad_id) if i is not None}
        ids |= set(range(len(self.tokenizer), vocabulary))
        return torch.tensor(sorted(ids - {self.end_id}), dtype=torch.long)

    def pixels(self, image: bytes, use: PromptUse = "student") -> Pixels:
        """Return the pixels of a stored image, in the pixel budget of a use. They are decoded once they are needed.

        Raises:
            VicurError: if the bytes are not an image in the stored form, or one that the processor rejects.
        """
        return self._reader.read(image, self.prompts.pixels.of(use))

    def video_pixels(self, frames: Sequence[bytes], times: Sequence[float], use: PromptUse = "student") -> Pixels:
        """Return the pixels of a video's stored frames, with their times in seconds. The pixel budget of the use limits each frame.

        Raises:
            VicurError: as :meth:`pixels`.
        """
        return self._reader.read_video(frames, times, self.prompts.pixels.of(use))

    def pixels_of(self, tokens: int) -> int:
        """Return the number of pixels of a resized image that takes so many visual tokens."""
        return tokens * int(self.image_processor.patch_size * self.image_processor.merge_size) ** 2

    def content(self, example: Example) -> Content:
        """Return what the prompt of an example shows: question, choices and the places of its images.

        Raises:
            VicurError: if the images or choices cannot be shown.
        """
        try:
            return content_of(
                example.question,
                example.choices,
                example.visuals,
                self.prompts.choices_template,
                is_video=example.video is not None,
            )
        except ContentError as error:
            raise VicurError(
                f"{error.reason}.",
                where=f"example {example.id}, {error.field}",
                remedy=f"{error.remedy} Then prepare the dataset again.",
            ) from error

    def prompt(self, content: str | Content, pixels: Sequence[Pixels]) -> Prompt:
        """Tokenize one user turn (of the teacher, with its hint). If the content is a text, all images, or the video, come before it."""
        if isinstance(content, str):
            content = (*(VideoPart() if p.is_video else ImagePart(n) for n, p in enumerate(pixels)), content)
        shown = [pixels[_place(part)] for part in content if not isinstance(part, str)]
        texts = [*(part for part in content if isinstance(part, str)), self.prompts.system or ""]
        ids: list[int] = []
        types: list[int] = []
        visuals = iter(shown)
        for piece in self._template(tuple(map(_kind, content))):
            if isinstance(piece, int):
                text_ids = self.encode_text(texts[piece])
                ids += text_ids
                types += [0] * len(text_ids)
                continue
            for token in piece:
                if token != self.image_id:
                    ids.append(token)
                    types.append(0)
                    continue
                visual_ids, visual_types = self._visual(next(visuals))
                ids += visual_ids
                types += visual_types
        return Prompt(tuple(ids), tuple(types), tuple(shown))

    def _visual(self, visual: Pixels) -> tuple[list[int], list[int]]:
        """Return ids and types of the tokens of an image or a video in a prompt."""
        if not visual.is_video:
            return [self.image_id] * visual.tokens, [IMAGE] * visual.tokens
        start, pad, end = self._video_ids
        ids: list[int] = []
        types: list[int] = []
        tokens = visual.tokens // len(visual.timestamps)
        for time in visual.timestamps:
            before = [*self.encode_text(f"<{time:.1f} seconds>"), start]
            ids += [*before, *[pad] * tokens, end]
            types += [*[0] * len(before), *[VIDEO] * tokens, 0]
        return ids, types

    def _template(self, kinds: tuple[int, ...]) -> tuple[tuple[int, ...] | int, ...]:
        """Return the tokenized template for a sequence of images, videos and texts: token ids, and between them the numbers of the texts to
        insert. An image or a video is the id of an image.

        The system message is the last text.
        """
        # The template is the same for all contents of this form, so it is rendered once.
        if kinds not in self._templates:
            # Every template frames videos as images, so that one without videos can be used as well.
            numbers = iter(range(len(kinds)))
            user = [{"type": "image"} if kind else {"type": "text", "text": slot(next(numbers))} for kind in kinds]
            messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
            if self.prompts.system is not None:
                messages.insert(
                    0, {"role": "system", "content": [{"type": "text", "text": slot(next(numbers, len(kinds)))}]}
                )
            rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            self._templates[kinds] = tuple(
                piece if isinstance(piece, int) else tuple(self.tokenizer(piece, add_special_tokens=False)["input_ids"])
                for piece in split_slots(str(rendered))
            )
        return self._templates[kinds]

    def encode_text(self, text: str) -> list[int]:
        """Tokenize text as data: special tokens in it are split into ordinary tokens."""
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def encode_response(self, text: str) -> list[int]:
        """Tokenize a whole response, including its end of turn."""
        return [*self.encode_text(text), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Decode response ids up to the end of turn."""
        response = list(ids)
        if self.end_id in response:
            response = response[: response.index(self.end_id)]
        return str(self.tokenizer.decode(response, skip_special_tokens=True)).strip()

    def collate(
        self, prompts: Sequence[Prompt], responses: Sequence[Sequence[int]] | None = None, *, device: str = "cpu"
    ) -> Batch:
        """Pad prompts on the left and responses on the right, so that all responses start in the same column."""
        rows = [()] * len(prompts) if responses is None else responses
        width = max(len(p.ids) for p in prompts)
        longest = max((len(r) for r in rows), default=0)
        ids, mask, types, response_mask = [], [], [], []
        positions_3BT = torch.zeros(3, len(rows), width + longest, dtype=torch.long)
        for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            left, right = width - len(prompt.ids), longest - len(row)
            ids.append([self.pad_id] * left + [*prompt.ids, *row] + [self.pad_id] * right)
            mask.append([0] * left + [1] * (len(prompt.ids) + len(row)) + [0] * right)
            types.append([0] * left + [*prompt.types] + [0] * longest)
            # Text counts up from the largest position, which an image may have reached before the prompt's last token.
            start = int(prompt.positions.max()) + 1
            positions_3BT[:, index, left:width] = prompt.positions
            positions_3BT[:, index, width:] = torch.arange(start, start + longest)
            response_mask.append([True] * len(row) + [False] * right)
        return Batch(
            torch.tensor(ids, device=device),
            torch.tensor(mask, device=device),
            torch.tensor(types, device=device),
            positions_3BT.to(device),
            torch.tensor(response_mask, dtype=torch.bool, device=device).reshape(len(ids), longest),
            width,
            tuple(image for prompt in prompts for image in prompt.pixels),
        )


def _kind(part: Part) -> int:
    return 0 if isinstance(part, str) else VIDEO if isinstance(part, VideoPart) else IMAGE


def _place(part: ImagePart | VideoPart) -> int:
    return 0 if isinstance(part, VideoPart) else part.index
