"""Prompts: control tokens, visual tokens and padding."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vicur.config.prompts import PromptConfig
from vicur.data.digit_scenes import vocabulary
from vicur.errors import VicurError
from vicur.modeling.chat import Chat, Pixels, Prompt
from vicur.modeling.tiny.architecture import SPECIAL_TOKENS, tiny_image_processor, tiny_tokenizer


def png(width: int = 48, height: int = 32, value: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_tokenizer(vocabulary()), tiny_image_processor())


def tokens(chat, ids):
    return chat.tokenizer.convert_ids_to_tokens(list(ids))


def test_a_prompt_contains_images_question_and_assistant_header(chat):
    prompt = chat.prompt("What is the sum of the left column?", [chat.pixels(png())])
    shown = tokens(chat, prompt.ids)
    assert shown[:4] == ["<|im_start|>", "▁user", "▁\n", "<|vision_start|>"]
    assert shown[4:10] == ["<|image_pad|>"] * 6
    assert shown[-3:] == ["<|im_start|>", "▁assistant", "▁\n"]
    assert [n for n, kind in enumerate(prompt.types) if kind] == list(range(4, 10))


def test_each_image_takes_its_own_number_of_tokens(chat):
    prompt = chat.prompt("Describe the image.", [chat.pixels(png()), chat.pixels(png(32, 16, 10))])
    assert sum(prompt.types) == 6 + 2
    assert [p.tokens for p in prompt.pixels] == [6, 2]


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_special_tokens_in_a_users_text_stay_text(chat, special):
    image = [chat.pixels(png())]
    plain = chat.prompt("What is red?", image)
    attack = chat.prompt(f"What is {special} red?", image)
    special_id = chat.tokenizer.convert_tokens_to_ids(special)
    assert attack.ids.count(special_id) == plain.ids.count(special_id)
    assert sum(attack.types) == 6


@given(st.text(max_size=60))
def test_no_text_encodes_to_a_control_token(text):
    chat = Chat(tiny_tokenizer(vocabulary()), tiny_image_processor())
    known = {chat.tokenizer.convert_tokens_to_ids(t) for t in SPECIAL_TOKENS}
    assert not known & set(chat.encode_text(text))
    assert chat.prompt(text, []).ids.count(chat.start_id) == 2


def test_slot_characters_in_user_text_stay_text(chat):
    assert chat.prompt("What \ue0000\ue001 is red?", []).ids.count(chat.end_id) == 1


def test_hints_and_responses_survive_tokenization(chat):
    hinted = chat.prompt("What is the sum of the left column?\n[Hint]: The left column holds 7 and 5.", [])
    assert chat.tokenizer.unk_token_id not in hinted.ids
    text = "The left column holds 7 and 5. 7 plus 5 is 12. Answer: 12"
    assert chat.decode(chat.encode_response(text)) == text


def test_collate_pads_prompts_left_and_responses_right(chat):
    short, long = chat.prompt("What?", []), chat.prompt("What is the sum of the left column?", [])
    batch = chat.collate([short, long], [[5, 6, 7], [8]])
    assert batch.prompt_length == len(long.ids)
    assert batch.input_ids[0, batch.prompt_length :].tolist() == [5, 6, 7]
    assert batch.response_mask.tolist() == [[True] * 3, [True, False, False]]
    assert batch.attention_mask[0].tolist() == [0] * (len(long.ids) - len(short.ids)) + [1] * (len(short.ids) + 3)
    assert batch.attention_mask[1].tolist() == [1] * (len(long.ids) + 1) + [0, 0]


def test_special_tokens_in_the_system_message_stay_text(chat):
    with_system = Chat(chat.tokenizer, chat.image_processor, PromptConfig(system="You are a <|im_end|> assistant."))
    assert with_system.prompt("What?", []).ids.count(chat.end_id) == 2


def test_undecodable_and_too_narrow_images_are_rejected(chat):
    with pytest.raises(VicurError, match="it is not an image"):
        chat.pixels(b"not an image")
    with pytest.raises(VicurError, match="402 x 2 pixels cannot be processed"):
        chat.pixels(png(402, 2))


def test_a_folder_without_tokenizer_is_rejected(tmp_path):
    with pytest.raises(VicurError, match="no tokenizer"):
        Chat.load(tmp_path)


def test_a_saved_chat_builds_the_same_prompts(chat, tmp_path):
    chat.save(tmp_path)
    again = Chat.load(tmp_path)
    question = "What is the sum of the left column?\n[Hint]: 7"
    assert again.prompt(question, [again.pixels(png())]).ids == chat.prompt(question, [chat.pixels(png())]).ids
    assert again.forbidden_ids(200).tolist() == chat.forbidden_ids(200).tolist()


def test_end_of_turn_is_allowed_and_unnamed_ids_are_forbidden(chat):
    forbidden = chat.forbidden_ids(len(chat.tokenizer) + 2).tolist()
    assert chat.end_id not in forbidden
    assert {chat.pad_id, chat.image_id, chat.start_id, len(chat.tokenizer), len(chat.tokenizer) + 1} <= set(forbidden)


def image_of(tokens: int) -> Pixels:
    return Pixels("", lambda: torch.zeros(0), (1, 2, 2 * tokens), tokens)


def test_short_ids_have_one_placeholder_per_image():
    ids, types = (87, 89, 92, 92, 90, 89, 92, 90, 5), (0, 0, 1, 1, 0, 0, 1, 0, 0)
    assert Prompt(ids, types, (image_of(2), image_of(1))).short_ids == [87, 89, 92, 90, 89, 92, 90, 5]


def test_adjacent_images_keep_one_placeholder_each():
    assert Prompt((92,) * 4, (1,) * 4, (image_of(2), image_of(2))).short_ids == [92, 92]


def test_short_ids_without_images_equal_the_ids(chat):
    prompt = chat.prompt("What is in the image?", [])
    assert prompt.short_ids == list(prompt.ids)
