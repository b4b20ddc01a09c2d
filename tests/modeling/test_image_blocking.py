"""Image blocking: text cannot attend to images in any kind of forward, except through cue recovery."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from tests.modeling.factory import Picture, Row, backbone, batch, chat_row, logprobs, student
from tests.modeling.test_chat import png
from vicur.config.sampling import Sampling
from vicur.data.digit_scenes import vocabulary
from vicur.errors import VicurError
from vicur.modeling import block_images, load_model, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.checkpoint import without_cue_recovery
from vicur.modeling.generation import generate
from vicur.modeling.image_blocking import visual_history
from vicur.modeling.scoring import score_responses
from vicur.modeling.student import cue_recovery_off
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.modeling.vision import encode_images

TEXT = (20, 21, 22)


def blocked(model: Qwen3VLForConditionalGeneration) -> Qwen3VLForConditionalGeneration:
    block_images(model)
    return model


def question_about(seed: int) -> Row:
    """Return a question about a random image."""
    return chat_row(Picture(seed=seed), *TEXT, response=(30, 31))


def difference(model: Qwen3VLForConditionalGeneration) -> float:
    """Return how much the log-probs after the image change with a different image."""
    one, other = logprobs(model, [question_about(0)])[0], logprobs(model, [question_about(1)])[0]
    after = max(n for n, kind in enumerate(question_about(0).types) if kind) + 1
    return float((one[after:] - other[after:]).abs().max())


def test_text_after_a_blocked_image_does_not_depend_on_it() -> None:
    assert difference(backbone()) > 0.01
    assert difference(blocked(backbone())) == 0.0


@pytest.mark.parametrize("sink", ["first", "assistant"])
def test_image_content_passes_the_block_only_through_cue_recovery(sink: Literal["first", "assistant"]) -> None:
    model = blocked(student(sink))
    assert difference(model) > 1e-4
    with cue_recovery_off(model):
        assert difference(model) == 0.0


@pytest.mark.parametrize("sink", ["first", "assistant"])
def test_left_and_right_padding_agree(sink: Literal["first", "assistant"]) -> None:
    model, rows = blocked(student(sink)), [question_about(0), chat_row(Picture(3, 4, seed=2), *TEXT), chat_row(*TEXT)]
    alone = [logprobs(model, [row])[0] for row in rows]
    for padding in ("left", "right"):
        for found, expected in zip(logprobs(model, rows, padding, width=40), alone, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_eager_and_sdpa_attention_agree() -> None:
    model = blocked(student("assistant"))
    expected = logprobs(model, [question_about(0), chat_row(Picture(3, 4, seed=2), *TEXT)])
    model.set_attn_implementation("eager")
    for found, wanted in zip(
        logprobs(model, [question_about(0), chat_row(Picture(3, 4, seed=2), *TEXT)]), expected, strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_continuing_from_a_cache_without_its_token_types_is_rejected() -> None:
    model, arguments = blocked(backbone()), batch([question_about(0)])
    cache = DynamicCache(config=model.config.text_config)
    model(**arguments, past_key_values=cache, use_cache=True)
    step = {"input_ids": torch.tensor([[40]]), "past_key_values": cache, "use_cache": True}
    with pytest.raises(VicurError, match="which tokens in the cache are visual"):
        model(**step)
    types = torch.cat([arguments["mm_token_type_ids"], torch.zeros(1, 1, dtype=torch.long)], dim=1)
    model(**step, **visual_history(model, types))


@pytest.mark.parametrize("sink", [None, "first", "assistant"])
def test_generation_logprobs_equal_those_of_a_plain_forward(sink: Literal["first", "assistant"] | None) -> None:
    chat = Chat(tiny_tokenizer(vocabulary()), tiny_image_processor())
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(tiny_config(chat.tokenizer)).eval()
    if sink is not None:
        from vicur.config.recovery import CueRecoverySettings

        model = with_cue_recovery(model, CueRecoverySettings(interval=2, sink=sink), 0, im_start_token_id=chat.start_id)
        for attention in model.model.cue_recovery.attentions().values():
            torch.nn.init.normal_(attention.o_proj.weight, std=0.2)
    block_images(model)
    questions = ("What is the sum of the left column?", "Describe the image.", "Which is larger?")
    prompts = [chat.prompt(q, [chat.pixels(png(value=40 + 60 * n))]) for n, q in enumerate(questions)]
    # Rows end at different steps, so some are dropped during generation.
    responses = generate(model, chat, prompts, Sampling(max_new_tokens=24), seed=3)
    batch_of_responses = chat.collate(prompts, [r.ids for r in responses])
    scores = score_responses(
        model,
        batch_of_responses,
        encode_images(model, batch_of_responses.pixels),
        chat.forbidden_ids(len(vocabulary())),
    )
    for row, response in enumerate(responses):
        found = scores.logprobs_BR[row, : len(response.ids)].detach()
        torch.testing.assert_close(found, torch.tensor(response.logprobs), atol=1e-4, rtol=1e-4)


def test_checkpoints_and_students_made_from_them_keep_the_block(tmp_path: Path) -> None:
    save_model(blocked(backbone()), tmp_path / "blocked")
    save_model(backbone(), tmp_path / "plain")
    model = load_model(tmp_path / "blocked")
    assert difference(model) == 0.0
    assert difference(without_cue_recovery(blocked(student("first")))) == 0.0
    assert "images_barred" not in (tmp_path / "plain" / "config.json").read_text()
    assert not load_model(tmp_path / "plain").model.language_model._forward_pre_hooks
