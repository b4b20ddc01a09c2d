"""Sinks and visual tokens of each sequence, in every layout of sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.factory import IM_START, Picture, Row, batch, chat_row, row, student
from vicur.errors import VicurError
from vicur.modeling.positions import CuePositions, find_sequences, locate

CPU = torch.device("cpu")
LONG = chat_row(Picture(2, 3), 20, 21)
SHORT = chat_row(22, Picture(1, 2))
TEXT = chat_row(23, 24)


def listed(positions: CuePositions | None) -> list[tuple[int, list[int]]]:
    """Return sink and visual tokens of each sequence as plain numbers."""
    assert positions is not None
    rows = zip(positions.sinks_S.tolist(), positions.visual_SN, positions.valid_SN, strict=True)
    return [(sink, visual[valid].tolist()) for sink, visual, valid in rows]


def expected(rows: list[Row], starts: list[int], *, header: bool = False) -> list[tuple[int, list[int]]]:
    """Compute the same with a loop over sequences."""
    found = []
    for r, start in zip(rows, starts, strict=True):
        visual = [start + n for n, kind in enumerate(r.types) if kind]
        sink = max(n for n, token in enumerate(r.ids) if token == IM_START) if header else 0
        if visual:
            found.append((start + sink, visual))
    return found


@pytest.mark.parametrize("sink", ["first", "assistant"])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padding_only_shifts_positions(padding: str, sink: str) -> None:
    rows, width = [LONG, SHORT, TEXT], 20
    found = student(sink).model.cue_positions(**batch(rows, padding, width))
    starts = [n * width + (width - len(r.ids) if padding == "left" else 0) for n, r in enumerate(rows)]
    assert listed(found) == expected(rows, starts, header=sink == "assistant")


def test_a_batch_without_images_has_no_positions() -> None:
    assert student().model.cue_positions(**batch([TEXT])) is None


def test_an_image_token_without_types_and_features_is_text() -> None:
    arguments = batch([SHORT])
    assert student().model.cue_positions(input_ids=arguments["input_ids"]) is None


def test_without_types_visual_tokens_are_found_by_id() -> None:
    arguments = batch([LONG, SHORT])
    with_types = listed(student().model.cue_positions(**arguments))
    del arguments["mm_token_type_ids"]
    assert listed(student().model.cue_positions(**arguments)) == with_types


@pytest.mark.parametrize("sink", ["first", "assistant"])
def test_special_tokens_in_user_text_do_not_move_positions(sink: str) -> None:
    plain = batch([row(20, IM_START, 21, 22, 23, Picture(), 24, 25, IM_START, 9)])
    spoiled = {**plain, "input_ids": plain["input_ids"].clone()}
    spoiled["input_ids"][0, 2:5] = torch.tensor([5, IM_START, 6])  # image placeholder, turn start, video placeholder
    model = student(sink).model
    assert listed(model.cue_positions(**spoiled)) == listed(model.cue_positions(**plain))


def test_video_tokens_are_visual() -> None:
    arguments = batch([chat_row(20, 21)])
    arguments["mm_token_type_ids"][0, 2:4] = 2
    assert listed(student().model.cue_positions(**arguments)) == [(0, [2, 3])]


def test_the_assistant_sink_requires_a_turn() -> None:
    with pytest.raises(VicurError, match="im_start"):
        student("assistant").model.cue_positions(**batch([row(20, Picture(), 21)]))


def _pack_of(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Ids and types of a one-row pack."""
    ids = torch.tensor([[token for r in rows for token in r.ids]])
    return ids, torch.tensor([[kind for r in rows for kind in r.types]])


@pytest.mark.parametrize("source", ["position_ids", "four position rows", "cu_seq_lens_q", "4D mask", "sequence_ids"])
@pytest.mark.parametrize("sink", ["first", "assistant"])
def test_each_sequence_of_a_pack_has_its_own_sink(sink: str, source: str) -> None:
    rows = [SHORT, TEXT, LONG]
    lengths = [len(r.ids) for r in rows]
    ids, types = _pack_of(rows)
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    ends = torch.tensor(lengths).cumsum(0)
    number = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))[None]
    causal = torch.ones(ids.shape[1], ids.shape[1]).tril().bool()
    layouts = {
        "position_ids": {"position_ids": positions},
        "four position rows": {"position_ids": positions.expand(4, -1, -1)},
        "cu_seq_lens_q": {"cu_seq_lens_q": torch.cat([torch.tensor([0]), ends])},
        "4D mask": {"attention_mask": (causal & (number[0] == number[0][:, None]))[None, None]},
        "sequence_ids": {"sequence_ids": number},
    }
    found = student(sink).model.cue_positions(input_ids=ids, mm_token_type_ids=types, **layouts[source])
    starts = [0, lengths[0], lengths[0] + lengths[1]]
    assert listed(found) == expected(rows, starts, header=sink == "assistant")


def test_padding_is_read_from_a_full_mask() -> None:
    mask = torch.ones(6, 6).tril().bool()
    mask[:, :2] = False  # two columns of left padding
    additive = torch.zeros(6, 6).masked_fill(~mask, torch.finfo(torch.float32).min)
    for full in (mask, additive):
        assert find_sequences((1, 6), CPU, full[None, None]).tolist() == [[-1, -1, 2, 2, 2, 2]]


def test_columns_of_a_full_mask_beyond_the_batch_are_ignored() -> None:
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[:, :4] = torch.ones(4, 4).tril().bool()
    assert find_sequences((1, 4), CPU, mask[None, None]).tolist() == [[0, 0, 0, 0]]


def test_mrope_positions_alone_define_no_boundaries() -> None:
    positions = torch.tensor([[0, 1, 1, 1, 1, 3]]).expand(3, 1, 6)
    assert find_sequences((1, 6), CPU, position_ids=positions).tolist() == [[0] * 6]


def test_a_mask_with_three_dimensions_is_rejected() -> None:
    with pytest.raises(VicurError, match="attention mask"):
        find_sequences((1, 4), CPU, torch.ones(1, 4, 4))


@settings(deadline=None)
@given(st.data())
def test_locate_agrees_with_a_loop_over_sequences(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    cells = st.lists(st.integers(-1, 2), min_size=rows * columns, max_size=rows * columns)
    flags = st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns)
    ids, visual, header = data.draw(cells), data.draw(flags), data.draw(flags)
    shape = (rows, columns)
    found = locate(torch.tensor(ids).reshape(shape), torch.tensor(visual).reshape(shape))
    by_sequence: dict[tuple[int, int], list[int]] = {}
    for place, number in enumerate(ids):
        if number >= 0:
            by_sequence.setdefault((place // columns, number), []).append(place)
    want = [(p[0], [n for n in p if visual[n]]) for _, p in sorted(by_sequence.items()) if any(visual[n] for n in p)]
    assert (listed(found) if found is not None else []) == want
    turns = [[n for n in p if header[n]] for _, p in sorted(by_sequence.items()) if any(visual[n] for n in p)]
    if want and all(turns):
        found = locate(
            torch.tensor(ids).reshape(shape), torch.tensor(visual).reshape(shape), torch.tensor(header).reshape(shape)
        )
        assert [sink for sink, _ in listed(found)] == [t[-1] for t in turns]
