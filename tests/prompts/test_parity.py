"""Training, teacher, cue model, evaluation, served models and vLLM show question, choices and images alike."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from vicur.config.cues import EndpointCues
from vicur.config.prompts import PromptConfig
from vicur.config.serving import ModelLimits
from vicur.config.training import TrainConfig
from vicur.config.video import VideoConfig
from vicur.cues.cue_model import CueModel
from vicur.cues.cue_prompt import CUE_PROMPTS
from vicur.cues.hints import HINT_MARKER
from vicur.data.digit_scenes import vocabulary
from vicur.data.schema import Example
from vicur.evaluation.prompts import prompts_for
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.tiny.architecture import tiny_image_processor, tiny_tokenizer
from vicur.prompts import ImagePart
from vicur.registry.served.files import Files
from vicur.registry.served.rows import RowReader
from vicur.training.selection import training_examples

ROWS: dict[str, dict[str, Any]] = {
    "first": {"question": "What is the sum of the left column?", "images": 2},
    "choices": {"question": "What is the sum?", "images": 1, "choices": ("12", "7", "5")},
    "listed": {"question": "What is the sum?\n(A) 12\n(B) 7", "images": 1, "choices": ("12", "7")},
    "marked": {"question": "Is <image> the left column or <image>?", "images": 2},
    "numbered": {
        "question": "<image 2> and <image 1>: what is the sum <image 2>?",
        "images": 2,
        "choices": ("12", "7"),
    },
    "in choices": {"question": "Which is like <image>?", "images": 3, "choices": ("<image>", "<image>")},
    "control": {
        "question": "<|im_end|> <|image_pad|> \\<image> ```<image>```?",
        "images": 1,
        "choices": ("<|im_start|>", "7"),
    },
    "no image": {"question": "What is the sum?", "images": 0, "choices": ("12", "7")},
}
PROMPTS = {
    "default": PromptConfig(),
    "system": PromptConfig(
        system="You are a helpful assistant.", choices_template="{question}\n({letter}) {choice}\nWhat is it?"
    ),
}


def picture(number: int) -> bytes:
    # Different sizes, so that a swapped image changes the number of visual tokens.
    file = io.BytesIO()
    Image.new("RGB", (32 + 32 * number, 32), (40 * number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def example_of(row: dict[str, Any]) -> Example:
    images = tuple(picture(n) for n in range(row["images"]))
    fields = {"id": "e", "answer": "12", "source": "test", "split": "distill", "rationale": "The sum is 12."}
    choices = row.get("choices", ())
    answer = choices[0] if choices else "12"
    return Example(**{**fields, "answer": answer, "question": row["question"], "choices": choices, "images": images})


@pytest.fixture(params=PROMPTS)
def chat(request: pytest.FixtureRequest) -> Chat:
    return Chat(tiny_tokenizer(vocabulary()), tiny_image_processor(), PROMPTS[request.param])


@pytest.fixture(params=ROWS)
def example(request: pytest.FixtureRequest) -> Example:
    return example_of(ROWS[request.param])


def in_training(example: Example, chat: Chat) -> tuple[Prompt, Prompt]:
    config = TrainConfig.model_validate({"method": "opsd", "max_prompt_tokens": 4096})
    [row], _ = training_examples([example], {}, chat, config)
    return row.student, row.teacher


def expected(chat: Chat, parts: list[dict[str, Any]], system: str | None) -> list[int]:
    """Return the token ids of messages with texts as an engine tokenizes them that renders the template around each text."""
    header = [] if system is None else [("<|im_start|>system\n", system, "<|im_end|>\n")]
    ids: list[int] = []

    def add(text: str, *, is_text: bool) -> None:
        ids.extend(chat.tokenizer(text, add_special_tokens=False, split_special_tokens=is_text)["input_ids"])

    for before, text, after in header:
        add(before, is_text=False)
        add(text, is_text=True)
        add(after, is_text=False)
    add("<|im_start|>user\n", is_text=False)
    for part in parts:
        if part["type"] == "text":
            add(part["text"], is_text=True)
        else:
            add("<|vision_start|><|image_pad|><|vision_end|>", is_text=False)
    add("<|im_end|>\n", is_text=False)
    add("<|im_start|>assistant\n", is_text=False)
    return ids


def test_all_prompts_of_an_example_agree(example: Example, chat: Chat) -> None:
    student, teacher = in_training(example, chat)
    [evaluated] = prompts_for(chat, [example])
    reader = RowReader(chat, VideoConfig(), ModelLimits(), Files(), 10_000)
    served = reader.prompt({"question": example.question, "image": [*example.images], "choices": [*example.choices]})
    for prompt in (evaluated, served):
        assert prompt.ids == student.ids
        assert [image.key for image in prompt.pixels] == [image.key for image in student.pixels]
    # The teacher's prompt differs only in the hint at its end.
    end = list(chat.tokenizer("<|im_end|>\n<|im_start|>assistant\n", add_special_tokens=False)["input_ids"])
    assert list(student.ids[-len(end) :]) == end == list(teacher.ids[-len(end) :])
    shared = len(student.ids) - len(end)
    assert teacher.ids[:shared] == student.ids[:shared]
    assert HINT_MARKER.strip("[]:") in str(chat.tokenizer.decode(teacher.ids[shared:]))


def test_an_engine_gets_the_same_tokens_from_messages(example: Example, chat: Chat) -> None:
    content = chat.content(example)
    parts = [
        {"type": "image_url"} if isinstance(part, ImagePart) else {"type": "text", "text": part} for part in content
    ]
    prompt = chat.prompt(content, [chat.pixels(image) for image in example.images])
    assert prompt.short_ids == expected(chat, parts, chat.prompts.system)


def test_the_cue_model_sees_images_and_choices_at_the_same_places(example: Example, chat: Chat) -> None:
    cue_model = CueModel(EndpointCues(url="http://localhost/v1", model="m"), 0, chat.prompts)
    system, user = cue_model.request(example)["messages"]
    assert system["content"] == "\n\n".join(filter(None, (chat.prompts.system, CUE_PROMPTS["v1"].system)))
    shown = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    order = [part.index for part in chat.content(example) if isinstance(part, ImagePart)]
    assert shown == [f"data:image/png;base64,{base64.b64encode(example.images[n]).decode()}" for n in order]
    text = "".join(part["text"] for part in user["content"] if part["type"] == "text")
    asked = "".join(part for part in chat.content(example) if isinstance(part, str))
    # Control tokens are broken up, because an endpoint would parse them.
    assert asked.replace("<|", "< |").replace("|>", "| >").replace("<image", "< image") in text
    assert "<|" not in text
