"""The whole student: the effect of cue recovery, and the agreement of all ways to compute it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from tests.modeling.factory import (
    IM_END,
    IM_START,
    VIDEO,
    Picture,
    Row,
    backbone,
    batch,
    chat_row,
    fresh_student,
    logprobs,
    student,
)
from tests.modeling.student_rows import FRAMES, LONG, ROWS, SEVERAL, SHORT, SINKS, TEXT, Sink, close
from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling import (
    Qwen3VLStudentForConditionalGeneration,
    load_model,
    save_model,
    sink_attention,
    with_cue_recovery,
    without_cue_recovery,
)
from vicur.training.recompute import recompute_activations


def test_a_new_student_equals_its_backbone_exactly() -> None:
    base = backbone()
    for sink in SINKS:
        made = fresh_student(base, sink=sink)
        arguments = batch(ROWS)
        with torch.no_grad():
            assert torch.equal(made(**arguments).logits, base(**arguments).logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_loaded_backbone_and_its_student_agree_in_either_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    save_model(backbone(), tmp_path)
    base = load_model(tmp_path, dtype=dtype)
    made = fresh_student(base)
    assert torch.equal(made(**batch(ROWS)).logits, base(**batch(ROWS)).logits)
    assert made.lm_head.weight is made.get_input_embeddings().weight


def test_the_output_projection_has_a_gradient_at_the_first_step() -> None:
    made = fresh_student()
    made(**batch(ROWS)).logits.square().mean().backward()
    for attention in made.model.cue_recovery.attentions().values():
        assert attention.o_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("sink", SINKS)
def test_all_module_weights_get_gradients_once_the_output_is_nonzero(sink: Sink) -> None:
    made = student(sink)
    made(**batch([LONG])).logits.log_softmax(-1)[0, -3:, 7].sum().backward()
    for name, parameter in made.model.cue_recovery.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("sink", SINKS)
def test_the_module_changes_the_tokens_from_its_sink_on(sink: Sink) -> None:
    made = student(sink)
    with_module, without = logprobs(made, [LONG])[0], logprobs(without_cue_recovery(made), [LONG])[0]
    header = max(n for n, token in enumerate(LONG.ids) if token == IM_START)
    changed = (with_module - without).abs().amax(-1) > 1e-3
    assert changed[header:].all()
    assert bool(changed[:header].all()) is (sink == "first")


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("sink", SINKS)
def test_padding_and_other_rows_change_no_logprob(sink: Sink, padding: Literal["left", "right"]) -> None:
    made = student(sink)
    together = logprobs(made, ROWS, padding, width=30)
    for number, alone in enumerate(ROWS):
        close(together[number], logprobs(made, [alone])[0])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(attention: str) -> None:
    made = student()
    made.set_attn_implementation(attention)
    for number, found in enumerate(logprobs(made, ROWS)):
        close(found, logprobs(student(), [ROWS[number]])[0])


def test_rows_without_images_equal_the_backbone() -> None:
    made = student()
    base = without_cue_recovery(made)
    with torch.no_grad():
        assert torch.equal(made(**batch([TEXT])).logits, base(**batch([TEXT])).logits)
        mixed = batch([LONG, TEXT])
        assert torch.equal(made(**mixed).logits[1], base(**mixed).logits[1])
        assert not torch.equal(made(**mixed).logits[0], base(**mixed).logits[0])


def test_every_image_of_a_row_reaches_the_sink() -> None:
    made = student("assistant")
    for changed in (Picture(2, 2, seed=9), Picture(1, 3, seed=9)):
        other = copy.deepcopy(SEVERAL)
        other.pictures[0 if changed.height == 2 else 1] = changed
        first_answer_token = SEVERAL.ids.index(34)
        difference = logprobs(made, [other])[0] - logprobs(made, [SEVERAL])[0]
        assert difference[first_answer_token].abs().max() > 1e-4
        sink_difference = _sink_state(made, other) - _sink_state(made, SEVERAL)
        assert sink_difference.abs().max() > 1e-4


@pytest.mark.parametrize("sink", SINKS)
@torch.no_grad()
def test_a_video_reaches_the_sink_of_its_row(sink: Sink) -> None:
    made = student(sink)
    still = chat_row(Picture(), 22)
    arguments = batch([chat_row(*FRAMES, 20, 21), still])
    is_frame = arguments["mm_token_type_ids"][0] == 1
    arguments["input_ids"][0, is_frame] = VIDEO
    arguments["mm_token_type_ids"][0, is_frame] = 2
    arguments["pixel_values_videos"] = torch.cat([frame.pixels for frame in FRAMES])
    arguments["video_grid_thw"] = torch.tensor([[2, 4, 6]])
    arguments["pixel_values"], arguments["image_grid_thw"] = Picture().pixels, torch.tensor([Picture().grid])
    before = made(**arguments).logits
    close(before[1, -len(still.ids) :].log_softmax(-1), logprobs(made, [still])[0])
    maps = sink_attention(made, arguments)
    assert [tuple(image.shape) for image in maps.images(0)] == [(3, 4, 2, 2, 3)]
    assert [tuple(image.shape) for image in maps.images(1)] == [(3, 4, 1, 2, 3)]
    arguments["pixel_values_videos"] = -arguments["pixel_values_videos"]
    after = made(**arguments).logits
    assert (after - before)[0, -1].abs().max() > 1e-3
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize("sink", SINKS)
def test_a_turn_start_in_user_text_is_not_a_sink(sink: Sink) -> None:
    made = student(sink)
    attack = chat_row(Picture(seed=1), 20, IM_START, 21, IM_END, IM_START)
    assert IM_START in attack.ids[1:-2]
    arguments = batch([attack])
    header = len(attack.ids) - 2
    positions = made.model.cue_positions(**arguments)
    assert positions is not None
    assert positions.sinks_S.tolist() == [0 if sink == "first" else header]
    for padding in ("left", "right"):
        close(logprobs(made, [attack, LONG], padding)[0], logprobs(made, [attack])[0])


def test_the_assistant_sink_depends_on_the_question_and_the_first_does_not() -> None:
    other = chat_row(Picture(2, 3, seed=1), 28, 29, 22, response=(30, 31, 32))
    for sink in SINKS:
        made = student(sink)
        difference = (_sink_state(made, LONG) - _sink_state(made, other)).abs().max()
        assert (difference > 1e-3) if sink == "assistant" else (difference < 1e-6)


def _sink_state(made: Qwen3VLStudentForConditionalGeneration, r: Row) -> Tensor:
    """State of the row's sink after all layers."""
    positions = made.model.cue_positions(**batch([r]))
    assert positions is not None
    with torch.no_grad():
        return made.model(**batch([r])).last_hidden_state[0, positions.sinks_S[0]]


@pytest.mark.parametrize(
    ("layers", "interval", "expected"),
    [(28, 5, [0, 5, 10, 15, 20, 25]), (36, 5, [0, 5, 10, 15, 20, 25, 30]), (4, 2, [0, 2]), (3, 2, [0]), (2, 1, [0])],
)
def test_the_last_layer_gets_no_module(layers: int, interval: int, expected: list[int]) -> None:
    assert list(CueRecoverySettings(interval=interval).layers(layers)) == expected
    if layers < 10:
        made = fresh_student(backbone(layers=layers), interval=interval)
        assert list(made.model.cue_recovery.attentions()) == expected


# Gradients and several forwards at once


def _gradients(made: Qwen3VLStudentForConditionalGeneration, *batches: dict[str, Any]) -> dict[str, Tensor]:
    """Return gradients of a loss over several batches, with all forwards before the backward."""
    made.zero_grad()
    losses = [made(**arguments, use_cache=False).logits.log_softmax(-1)[..., 11:14].mean() for arguments in batches]
    torch.stack(losses).sum().backward()
    return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("sink", SINKS)
def test_gradient_checkpointing_changes_no_gradient_with_interleaved_forwards(sink: Sink, reentrant: bool) -> None:
    made = student(sink).train()
    batches = batch([LONG, TEXT]), batch([SHORT, SEVERAL], "right")
    plain = _gradients(made, *batches)
    recompute_activations(made, use_reentrant=reentrant)
    checkpointed = _gradients(made, *batches)
    assert plain.keys() == checkpointed.keys()
    assert any("cue_recovery" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_gradients_of_micro_batches_add_up() -> None:
    made = student()
    batches = batch([LONG]), batch([SEVERAL])
    together, apart = _gradients(made, *batches), [_gradients(made, b) for b in batches]
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[0][name] + apart[1][name], rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_a_deep_copy_does_not_share_the_module() -> None:
    made = student()
    before = logprobs(made, [LONG])[0]
    copied = copy.deepcopy(made)
    assert torch.equal(logprobs(copied, [LONG])[0], before)
    for attention in copied.model.cue_recovery.attentions().values():
        attention.o_proj.weight.zero_()
    assert torch.equal(logprobs(made, [LONG])[0], before)
    assert torch.equal(logprobs(copied, [LONG])[0], logprobs(without_cue_recovery(made), [LONG])[0])


# Packs


@pytest.mark.parametrize("source", ["positions", "full mask"])
@pytest.mark.parametrize("sink", SINKS)
@torch.no_grad()
def test_a_pack_gives_the_logprobs_of_its_separate_sequences(sink: Sink, source: str) -> None:
    made = student(sink)
    parts = [batch([r]) for r in ROWS]
    positions = [
        made.model.get_rope_index(p["input_ids"], p["mm_token_type_ids"], image_grid_thw=p.get("image_grid_thw"))[0]
        for p in parts
    ]
    lengths = [p["input_ids"].shape[1] for p in parts]
    rope = torch.cat(positions, dim=-1)
    number = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor(lengths))
    if source == "positions":
        text = torch.cat([torch.arange(n) for n in lengths])[None, None]
        layout = {"position_ids": torch.cat([text, rope])}
    else:
        causal = torch.ones(sum(lengths), sum(lengths)).tril().bool()
        layout = {"position_ids": rope, "attention_mask": (causal & (number == number[:, None]))[None, None]}
    packed = made(
        input_ids=torch.cat([p["input_ids"] for p in parts], dim=1),
        mm_token_type_ids=torch.cat([p["mm_token_type_ids"] for p in parts], dim=1),
        pixel_values=torch.cat([p["pixel_values"] for p in parts if "pixel_values" in p]),
        image_grid_thw=torch.cat([p["image_grid_thw"] for p in parts if "image_grid_thw" in p]),
        use_cache=False,
        **layout,
    )
    found = packed.logits[0].log_softmax(-1).split(lengths)
    for r, logprob in zip(ROWS, found, strict=True):
        close(logprob, logprobs(made, [r])[0])


# Settings that do not fit


@pytest.mark.parametrize(
    ("settings", "layers", "message"),
    [
        ({"num_heads": 5}, 4, "5 heads do not divide the hidden size 64"),
        ({}, 1, "at least 2 decoder layers"),
        ({"sink": "assistant"}, 4, "needs the id of <|im_start|>"),
    ],
)
def test_settings_that_do_not_fit_the_backbone_are_rejected(
    settings: dict[str, Any], layers: int, message: str
) -> None:
    with pytest.raises(VicurError, match=message.replace("|", r"\|")):
        with_cue_recovery(backbone(layers=layers), CueRecoverySettings(**settings), seed=0)


def test_the_number_of_heads_can_be_set() -> None:
    made = with_cue_recovery(backbone(), CueRecoverySettings(num_heads=8), seed=0)
    assert {a.num_heads for a in made.model.cue_recovery.attentions().values()} == {8}
    logprobs(made, [LONG])


@pytest.mark.parametrize("sink", SINKS)
def test_embeddings_without_types_or_ids_are_rejected(sink: Sink) -> None:
    made, arguments = student(sink), batch([LONG])
    arguments["inputs_embeds"] = made.get_input_embeddings()(arguments.pop("input_ids"))
    types = arguments.pop("mm_token_type_ids")
    with pytest.raises(VicurError, match="mm_token_type_ids"):
        made(**arguments)
    if sink == "assistant":
        with pytest.raises(VicurError, match="input_ids"):
            made.model.cue_positions(**arguments, mm_token_type_ids=types)
