"""M-RoPE positions equal those of transformers for any order and shape of images."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.modeling.factory import Picture, backbone, batch, row
from vicur.modeling.chat import Pixels
from vicur.modeling.mrope import mrope_positions

MODEL = backbone(layers=2)
PARTS = st.lists(st.one_of(st.integers(10, 60), st.builds(Picture, st.integers(1, 4), st.integers(1, 4))), min_size=1)


@given(st.lists(PARTS, min_size=1, max_size=3))
def test_positions_equal_those_of_transformers(rows):
    made = [row(*parts) for parts in rows]
    arguments = batch(made)
    expected, _ = MODEL.model.get_rope_index(
        arguments["input_ids"],
        arguments["mm_token_type_ids"],
        image_grid_thw=arguments.get("image_grid_thw"),
        attention_mask=arguments["attention_mask"],
    )
    for index, sequence in enumerate(made):
        found = mrope_positions(sequence.types, [(1, p.height, p.width) for p in sequence.pictures])
        assert torch.equal(found, expected[:, index, -len(sequence.ids) :])


def test_token_grid_counts_merged_patches():
    image = Pixels("key", lambda: torch.zeros(48, 1), (1, 4, 12), 12)
    assert image.token_grid == (1, 2, 6)
