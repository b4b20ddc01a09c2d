"""From questions and images to token ids and back: the one place where prompts are built.

The checkpoint's own chat template and image processor are used. Two things are done differently from a processor's call:

- What the template writes may hold control tokens; what a user wrote may not. The template is rendered around marks that stand for
  the user's text, and each text is tokenized by itself with special tokens split, so ``<|im_start|>`` in a question stays text.
- Pixels are prepared once for an image and shared by all prompts over it (the student's, the teacher's with its hint).

``AutoProcessor`` is not needed (it wants torchvision for videos): tokenizer and image processor load by themselves.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vicur.errors import VicurError
from vicur.modeling.mrope import mrope_positions
from vicur.modeling.patches import PatchCache
from vicur.modeling.template_slots import mark, split_marks

_CONTROL = re.compile(r"^<\|.*\|>$")


@dataclass(frozen=True, eq=False)
class Pixels:
    """One image, as the vision tower takes it.

    Attributes:
        key: SHA-256 of the encoded image; equal images have equal keys.
        patches: gives its patches and their pixels, float32 [patches, channels * temporal * patch * patch]: they take a hundred times the
            memory of the encoded image.
        grid: patches in time, height and width.
        tokens: visual tokens that the image takes in a prompt.
        encoded: the encoded image itself, for engines that prepare it anew.
    """

    key: str
    patches: Callable[[], Tensor]
    grid: tuple[int, int, int]
    tokens: int
    encoded: bytes = field(default=b"", repr=False)

    @property
    def token_grid(self) -> tuple[int, int, int]:
        """Frames, rows and columns of the visual tokens."""
        frames, height, width = self.grid
        merge = math.isqrt(frames * height * width // self.tokens)
        return frames, height // merge, width // merge


@dataclass(frozen=True, eq=False)
class Prompt:
    """A tokenized prompt up to and including the assistant header.

    Attributes:
        ids: token ids, image placeholders expanded.
        types: 1 at the visual tokens of ``pixels``, else 0.
        pixels: the images, in the order of their tokens.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...]
    pixels: tuple[Pixels, ...]

    @cached_property
    def positions(self) -> Tensor:
        """Positions of the tokens for M-RoPE [3, P]."""
        return mrope_positions(self.types, [image.token_grid for image in self.pixels])

    @property
    def short_ids(self) -> list[int]:
        """Token ids with one placeholder an image, as vLLM takes them: it repeats it itself, once it has prepared the image."""
        waiting = iter(self.pixels)
        ids: list[int] = []
        left = 0
        for token, kind in zip(self.ids, self.types, strict=True):
            if kind and left:
                left -= 1
                continue
            ids.append(token)
            if kind:
                left = next(waiting).tokens - 1
        return ids


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts, left-padded, each with its response, right-padded.

    Attributes:
        input_ids: token ids [B, T].
        attention_mask: 1 at tokens, 0 at padding [B, T].
        mm_token_type_ids: 1 at visual tokens, else 0 [B, T].
        position_ids: positions for M-RoPE, arbitrary at padding [3, B, T]. Given to every forward: a model would keep those of its last
            call as state.
        response_mask: true at response tokens [B, R]; R = T - prompt_length.
        prompt_length: columns before the first response token.
        pixels: all images of all rows, in order.
    """

    input_ids: Tensor
    attention_mask: Tensor
    mm_token_type_ids: Tensor
    position_ids: Tensor
    response_mask: Tensor
    prompt_length: int
    pixels: tuple[Pixels, ...]

    @property
    def grids(self) -> Tensor | None:
        """Patches in time, height and width of each image [I, 3], or none."""
        if not self.pixels:
            return None
        return torch.tensor([p.grid for p in self.pixels], dtype=torch.long, device=self.input_ids.device)


class Chat:
    """Builds prompts for one checkpoint and reads its responses.

    Args:
        tokenizer: the checkpoint's tokenizer, with its chat template.
        image_processor: the checkpoint's image processor.
        system: text of the system message; none leaves it out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_processor: Any, *, system: str | None = None) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.system = system
        self._patches = PatchCache()
        self._templates: dict[int, tuple[tuple[int, ...] | int, ...]] = {}
        self.end_id = self._id("<|im_end|>")
        self.start_id = self._id("<|im_start|>")
        self.image_id = self._id("<|image_pad|>")
        pad = tokenizer.pad_token_id
        self.pad_id = self.end_id if pad is None else int(pad)

    @classmethod
    def load(cls, folder: Path, *, system: str | None = None) -> Chat:
        """Loads tokenizer and image processor of the checkpoint in ``folder``; nothing is downloaded, no remote code is run.

        Raises:
            VicurError: where the folder lacks them.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            processor = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise VicurError(
                f"holds no tokenizer and image processor of a Qwen3-VL checkpoint ({str(error).splitlines()[0]}).",
                where=str(folder),
                remedy="Point to a folder that was written by save_pretrained, with tokenizer.json and preprocessor_config.json.",
            ) from error
        return cls(tokenizer, processor, system=system)

    def save(self, folder: Path) -> None:
        """Writes tokenizer and image processor beside a checkpoint."""
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)

    def _id(self, token: str) -> int:
        found = self.tokenizer.convert_tokens_to_ids(token)
        if not isinstance(found, int) or found == self.tokenizer.unk_token_id:
            raise VicurError(
                f"the tokenizer has no {token}.",
                remedy="Use the tokenizer of a Qwen3-VL checkpoint: its prompts need this token.",
            )
        return found

    def forbidden_ids(self, vocabulary: int) -> Tensor:
        """Ids that are never sampled, and that every score leaves out of its distribution: vision placeholders and control tokens
        other than the end of a turn, padding, the unknown token, and rows of the model's vocabulary that the tokenizer does not name.

        Args:
            vocabulary: rows of the model's output layer.

        Returns:
            Sorted ids [F].
        """
        ids = {
            index
            for index, token in self.tokenizer.added_tokens_decoder.items()
            if token.special or _CONTROL.match(token.content)
        }
        ids |= {i for i in (self.tokenizer.unk_token_id, self.pad_id) if i is not None}
        ids |= set(range(len(self.tokenizer), vocabulary))
        return torch.tensor(sorted(ids - {self.end_id}), dtype=torch.long)

    def pixels(self, image: bytes) -> Pixels:
        """An encoded image, whose patches are made when they are asked for and kept as long as they are used often.

        Raises:
            VicurError: where the bytes are no readable image, or one that cannot be prepared.
        """
        key = hashlib.sha256(image).hexdigest()
        values_PD, grid = self._prepared(image)
        self._patches.get(key, lambda: values_PD)
        t, h, w = grid
        tokens = t * h * w // self.image_processor.merge_size**2
        return Pixels(key, partial(self._patches.get, key, lambda: self._prepared(image)[0]), grid, tokens, image)

    def _prepared(self, image: bytes) -> tuple[Tensor, tuple[int, int, int]]:
        """Patches of an encoded image, and how many there are in time, height and width."""
        try:
            with Image.open(io.BytesIO(image)) as opened:
                rgb = opened.convert("RGB")
        except UnidentifiedImageError:
            raise VicurError(
                "cannot be read as an image.", remedy="Replace the image and prepare the dataset again."
            ) from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise VicurError(
                f"cannot be read as an image ({error}).", remedy="Replace the image and prepare the dataset again."
            ) from error
        try:
            made = self.image_processor(images=[rgb], return_tensors="pt")
        except ValueError as error:  # sides that differ too much for the model's grid
            raise VicurError(
                f"of {rgb.width} x {rgb.height} pixels cannot be prepared ({error}).",
                remedy="Crop or pad the image and prepare the dataset again.",
            ) from error
        t, h, w = (int(n) for n in made["image_grid_thw"][0])
        return made["pixel_values"].float(), (t, h, w)

    def prompt(self, question: str, pixels: Sequence[Pixels]) -> Prompt:
        """Tokenizes one user turn: the images, then the question (with its hint, where the teacher has one)."""
        texts = (question, self.system or "")
        ids: list[int] = []
        types: list[int] = []
        waiting = iter(pixels)
        for piece in self._template(len(pixels)):
            if isinstance(piece, int):
                text_ids = self.encode_text(texts[piece])
                ids += text_ids
                types += [0] * len(text_ids)
                continue
            for token in piece:
                count = next(waiting).tokens if token == self.image_id else 1
                ids += [token] * count
                types += [int(token == self.image_id)] * count
        return Prompt(tuple(ids), tuple(types), tuple(pixels))

    def _template(self, images: int) -> tuple[tuple[int, ...] | int, ...]:
        """The template around a question with so many images: token ids, and between them the numbers of the texts that go there.

        It is rendered once: it is the same for every question.
        """
        if images not in self._templates:
            user = [{"type": "image"} for _ in range(images)] + [{"type": "text", "text": mark(0)}]
            messages: list[dict[str, Any]] = [{"role": "user", "content": user}]
            if self.system is not None:
                messages.insert(0, {"role": "system", "content": [{"type": "text", "text": mark(1)}]})
            rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            self._templates[images] = tuple(
                piece if isinstance(piece, int) else tuple(self.tokenizer(piece, add_special_tokens=False)["input_ids"])
                for piece in split_marks(str(rendered))
            )
        return self._templates[images]

    def encode_text(self, text: str) -> list[int]:
        """Token ids of text that is data: special tokens in it are spelled out, not obeyed."""
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def encode_response(self, text: str) -> list[int]:
        """Token ids of a whole response, its end of turn included."""
        return [*self.encode_text(text), self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response ids, up to the end of the turn."""
        kept = list(ids)
        if self.end_id in kept:
            kept = kept[: kept.index(self.end_id)]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()

    def collate(
        self, prompts: Sequence[Prompt], responses: Sequence[Sequence[int]] | None = None, *, device: str = "cpu"
    ) -> Batch:
        """Pads prompts to the left and responses to the right, so that all responses start in one column."""
        rows = [()] * len(prompts) if responses is None else responses
        width = max(len(p.ids) for p in prompts)
        reply = max((len(r) for r in rows), default=0)
        ids, mask, types, answered = [], [], [], []
        positions_3BT = torch.zeros(3, len(rows), width + reply, dtype=torch.long)
        for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            left, right = width - len(prompt.ids), reply - len(row)
            ids.append([self.pad_id] * left + [*prompt.ids, *row] + [self.pad_id] * right)
            mask.append([0] * left + [1] * (len(prompt.ids) + len(row)) + [0] * right)
            types.append([0] * left + [*prompt.types] + [0] * reply)
            start = int(prompt.positions.max()) + 1
            positions_3BT[:, index, left:width] = prompt.positions
            positions_3BT[:, index, width:] = torch.arange(start, start + reply)
            answered.append([True] * len(row) + [False] * right)
        return Batch(
            torch.tensor(ids, device=device),
            torch.tensor(mask, device=device),
            torch.tensor(types, device=device),
            positions_3BT.to(device),
            torch.tensor(answered, dtype=torch.bool, device=device).reshape(len(ids), reply),
            width,
            tuple(image for prompt in prompts for image in prompt.pixels),
        )
