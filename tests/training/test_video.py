"""The tiny model trains on videos: one distribution for rollouts, teacher and update, and one encoding of each video."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.factory import save_random_base, state_for
from tests.videos import COLOURS, WAYS, moving, png
from vicur.data.digit_scenes import vocabulary
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation.attention import attention_record
from vicur.modeling.ahead import DecodeAhead, example_pixels
from vicur.modeling.generation import generate
from vicur.modeling.image_blocking import block_images
from vicur.modeling.mrope import VIDEO
from vicur.modeling.scoring import score_responses
from vicur.modeling.vision import encode_images
from vicur.training.examples import training_example
from vicur.training.selection import training_examples
from vicur.training.state import TrainState
from vicur.training.step import training_step


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_base(tmp_path_factory.mktemp("video") / "base")


@cache
def films() -> tuple[Example, ...]:
    """Return an example about each colour and way of a moving square, in the words of the digit scenes."""
    words = [word for word in vocabulary() if word.isalpha()]
    return tuple(
        Example(
            id=f"{colour}-{way}",
            images=tuple(png(picture) for picture in moving(way, colour, frames=5)),
            question=f"which {words[0]} ?",
            answer=str(number),
            cue=f"{words[1]} {words[2]}",
            source="films",
            split="distill",
            metadata={"video": {"timestamps": [n / 2 for n in range(5)], "fps": 2.0}},
        )
        for number, (colour, way) in enumerate((colour, way) for colour in COLOURS for way in WAYS)
    )


def rows_for(state: TrainState) -> Any:
    return training_examples(films(), {film.id: str(film.cue) for film in films()}, state.chat, state.config)[0]


@pytest.mark.parametrize("method", ["opsd", "vicur"])
def test_rollout_teacher_and_training_forward_agree_about_videos(base: Path, method: str) -> None:
    state = state_for(base, method=method, max_prompt_tokens=512)
    rows = rows_for(state)
    for step in range(2):
        loss = training_step(state, rows[4 * step : 4 * step + 4], step)
    assert all(torch.isfinite(torch.tensor(value)) for value in loss.values() if isinstance(value, float))
    few = rows[:3]
    assert all(VIDEO in row.student.types for row in few)
    answers = generate(state.student, state.chat, [row.student for row in few], state.config.rollout, seed=1)
    forbidden = state.chat.forbidden_ids(state.student.config.text_config.vocab_size)
    batch = state.chat.collate([row.student for row in few], [a.ids for a in answers])
    scored = score_responses(state.student, batch, encode_images(state.student, batch.pixels), forbidden).logprobs_BR
    for number, answer in enumerate(answers):
        assert answer.logprobs == pytest.approx(scored[number, : len(answer.ids)].tolist(), abs=2e-5)
        # Padding and other rows do not change a score, of the teacher's prompt either.
        for prompt in (few[number].student, few[number].teacher):
            both = state.chat.collate([prompt, few[0].student], [answer.ids, answers[0].ids])
            alone = state.chat.collate([prompt], [answer.ids])
            together, single = (
                score_responses(state.student, each, encode_images(state.student, each.pixels), forbidden).logprobs_BR
                for each in (both, alone)
            )
            assert together[0, : len(answer.ids)].tolist() == pytest.approx(single[0].tolist(), abs=1e-5)


def test_our_positions_and_features_are_those_that_the_model_derives_from_pixels(base: Path) -> None:
    state = state_for(base, method="opsd", max_prompt_tokens=512)
    chat, model = state.chat, state.student
    image = Example(**{**films()[0].model_dump(), "metadata": {}, "images": films()[0].images[:1]})
    prompts = [chat.prompt(chat.content(e), example_pixels(chat, e)) for e in (films()[0], image, films()[5])]
    batch = chat.collate(prompts)
    videos = torch.cat([p.patches() for p in batch.pixels if p.is_video])
    images = torch.cat([p.patches() for p in batch.pixels if not p.is_video])
    given = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "mm_token_type_ids": batch.mm_token_type_ids,
    }
    derived, _ = model.model.get_rope_index(
        batch.input_ids, batch.mm_token_type_ids, batch.grids, batch.video_grids, batch.attention_mask
    )
    real = batch.attention_mask.bool()
    assert torch.equal(derived[:, real], batch.position_ids[:, real])
    from vicur.modeling.vision import encoder_outputs

    with torch.no_grad():
        wanted = model(
            **given,
            pixel_values=images,
            pixel_values_videos=videos,
            image_grid_thw=batch.grids,
            video_grid_thw=batch.video_grids,
        ).logits
        found = model(
            **given,
            position_ids=batch.position_ids,
            mm_encoder_outputs=encoder_outputs(encode_images(model, batch.pixels), batch.pixels),
        ).logits
    torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=0)


def test_cue_recovery_and_blocking_see_the_tokens_of_a_video(base: Path) -> None:
    state = state_for(base, method="vicur", max_prompt_tokens=512)
    film = films()[0]
    prompt = state.chat.prompt(state.chat.content(film), example_pixels(state.chat, film))
    batch = state.chat.collate([prompt])
    positions = state.student.model.cue_positions(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs={"video": object()},
    )
    assert positions is not None
    assert int(positions.valid_SN.sum()) == prompt.pixels[0].tokens == prompt.types.count(VIDEO)
    record = attention_record(state.student, state.chat, films()[:2], 1, seed=0)
    assert record is not None
    # Three groups of two frames.
    assert len(record.samples[0].images) == 3
    block_images(state.student)
    [answer] = generate(state.student, state.chat, [prompt], state.config.rollout, seed=0)
    assert answer.ids


def test_a_video_is_decoded_ahead_and_a_damaged_frame_names_its_example(base: Path) -> None:
    state = state_for(base, method="opsd", max_prompt_tokens=512)
    film = films()[3]
    with DecodeAhead(state.chat, threads=1) as ahead:
        [video] = example_pixels(state.chat, film, ahead=ahead)
        ahead.expect(0, [video])
        assert torch.equal(video.patches(), example_pixels(state.chat, film)[0].patches())
    damaged = film.model_copy(update={"images": (*film.images[:-1], film.images[-1][:100])})
    [video] = example_pixels(state.chat, damaged)
    with pytest.raises(VicurError, match="frame 4 cannot be used") as raised:
        video.patches()
    assert film.id in str(raised.value)


def test_vllm_is_refused_for_videos_and_long_videos_are_skipped_with_the_setting_that_helps(base: Path) -> None:
    state = state_for(base, method="opsd", max_prompt_tokens=60)
    skipped = training_example(films()[0], None, state.chat, state.config)
    assert isinstance(skipped, str)
    assert "above max_prompt_tokens = 60" in skipped
    config = state.config.model_copy(
        update={"rollout": state.config.rollout.model_copy(update={"engine": _server(state)})}
    )
    with pytest.raises(VicurError, match="vLLM gets no videos"):
        training_example(films()[0], None, state.chat, config)
    [video] = example_pixels(state.chat, films()[0])
    with pytest.raises(VicurError, match="vLLM does not get videos"):
        _ = state.chat.prompt("which ?", [video]).short_ids


def _server(state: TrainState) -> Any:
    from vicur.config.training import TrainConfig

    settings = state.config.rollout.model_dump() | {"engine": {"type": "vllm"}}
    return TrainConfig.model_validate({"method": "opsd", "rollout": settings}).rollout.engine
