"""Random students and requests, and the reference responses of transformers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.config.sampling import Sampling
from vicur.modeling import Qwen3VLStudentForConditionalGeneration, read_config, save_model, with_cue_recovery
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response, generate
from vicur.modeling.vision import encode_images, encoder_outputs
from vicur.seeds import numpy_generator

TINY = Path(__file__).parents[2] / "vicur" / "modeling" / "tiny"
LONGEST = 320
"""Maximum number of tokens of a prompt with its response."""


@dataclass(frozen=True)
class Request:
    """Prompt with its images."""

    kind: str  # purpose of the request
    prompt: Prompt  # for transformers
    images: tuple[bytes, ...]  # encoded
    max_tokens: int

    @property
    def ids(self) -> list[int]:
        """Prompt for vLLM, which has one placeholder per image."""
        return self.prompt.short_ids


@dataclass(frozen=True)
class Case:
    """Student on disk and in transformers."""

    folder: Path
    student: Qwen3VLStudentForConditionalGeneration
    chat: Chat

    @cached_property
    def allowed_ids(self) -> list[int]:
        """Ids that training may sample."""
        vocabulary = self.student.config.get_text_config().vocab_size
        return sorted(set(range(vocabulary)) - set(self.chat.forbidden_ids(vocabulary).tolist()))

    def answers(self, requests: Sequence[Request]) -> list[Response]:
        """Return the greedy responses of transformers, up to the largest ``max_tokens`` of all requests."""
        longest = max(request.max_tokens for request in requests)
        sampling = Sampling(temperature=0, max_new_tokens=longest)
        return generate(self.student, self.chat, [r.prompt for r in requests], sampling, seed=0, batch_size=64)

    @torch.no_grad()
    def prompt_logprobs(self, request: Request) -> Tensor:
        """Return the log-probabilities of the tokens of a prompt except the first, over the whole vocabulary."""
        batch = self.chat.collate([request.prompt])
        logits_TV = self.student(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            mm_token_type_ids=batch.mm_token_type_ids,
            mm_encoder_outputs=encoder_outputs(encode_images(self.student, batch.pixels), batch.pixels),
            image_grid_thw=batch.grids,
        ).logits[0]
        if self.student.config.recovery_settings.sink == "assistant":
            logits_TV[:, self.chat.start_id] = float("-inf")
        return logits_TV[:-1].log_softmax(-1).gather(1, batch.input_ids[0, 1:, None])[:, 0]


def make_student(sink: Literal["first", "assistant"], folder: Path) -> Case:
    """Create a student with random weights, whose responses are uncertain and depend on cue recovery.

    It has the shape, tokenizer and template of a tiny model, a different one for each sink.
    """
    base = TINY / {"first": "base", "assistant": "teacher"}[sink]
    chat, config = Chat.load(base), read_config(base)
    config.text_config.initializer_range = config.vision_config.initializer_range = 0.1
    torch.manual_seed(0)
    backbone = Qwen3VLForConditionalGeneration(config).eval()
    settings = CueRecoverySettings(sink=sink, interval={"first": 1, "assistant": 2}[sink])
    student = with_cue_recovery(backbone, settings, seed=0, im_start_token_id=chat.start_id)
    with torch.no_grad():
        for attention in student.model.cue_recovery.attentions().values():
            attention.o_proj.weight.normal_()
    save_model(student, folder, chat_folder=base)
    return Case(folder, student, chat)


def make_requests(chat: Chat, rounds: int, seed: int = 0) -> list[Request]:
    """Create ten requests of different kinds per round, in random order."""
    random = numpy_generator(seed, "vllm-requests")
    system = Chat(
        chat.tokenizer, chat.image_processor, chat.prompts.model_copy(update={"system": _question(chat, random, 40)})
    )
    requests = []
    for _ in range(rounds):
        question, image = _question(chat, random, 8), _image(random)
        width, height = Image.open(io.BytesIO(image)).size
        other = _image(random, width, height)
        several = [_image(random) for _ in range(int(random.integers(2, 4)))]
        control = "<|im_start|>assistant\n<|image_pad|><|vision_start|>"
        requests += [
            _request("image", chat, _question(chat, random), [image], random),
            _request("same image", chat, question, [image], random),
            _request("another image", chat, question, [other], random),
            _request("system", system, question, [image], random),
            _request("system, another image", system, question, [other], random),
            _request("several images", chat, _question(chat, random, 20), several, random),
            _request("several, the last another", chat, _question(chat, random, 20), [*several[:-1], other], random),
            _request("no image", chat, _question(chat, random), [], random),
            _request("control tokens as text", chat, f"{question} {control} {question}", [image], random),
            _request("long", chat, _question(chat, random, 180), [image], random),
        ]
    return [requests[place] for place in random.permutation(len(requests))]


def _request(kind: str, chat: Chat, question: str, images: list[bytes], random: np.random.Generator) -> Request:
    prompt = chat.prompt(question, [chat.pixels(image) for image in images])
    return Request(kind, prompt, tuple(images), int(random.integers(4, 25)))


def _question(chat: Chat, random: np.random.Generator, words: int = 0) -> str:
    vocabulary = [
        token[1:] for token in chat.tokenizer.get_vocab() if token[0] == "▁" and len(token) > 1 and token[1] != "\n"
    ]
    return " ".join(random.choice(sorted(vocabulary), words or int(random.integers(1, 60))))


def _image(random: np.random.Generator, width: int = 0, height: int = 0) -> bytes:
    """Create a coarse random image. Most sizes require resizing to the model's grid."""
    width, height = width or int(random.integers(20, 160)), height or int(random.integers(20, 160))
    coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()
