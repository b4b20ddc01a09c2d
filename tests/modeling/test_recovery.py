"""The folded attention equals the published formulation, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery, SinkAttention

HIDDEN, HEADS = 48, 4


def made(seed: int = 0, hidden: int = HIDDEN, heads: int = HEADS) -> CueRecovery:
    module = CueRecovery(hidden, heads, 1e-6, (0, 5))
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=hidden**-0.5)
    for norm in (module.query_norm, module.visual_norm):
        torch.nn.init.normal_(norm.weight, mean=1.0, std=0.3)
    return module


def published(module: CueRecovery, layer: int, hidden_BTH: Tensor, sequences: list[tuple[int, list[int]]]) -> Tensor:
    """Compute the paper's formulation in a loop over sequences: normed states, projected keys and values, multi-head attention."""
    attention = module.attentions()[layer]
    flat = hidden_BTH.flatten(0, 1)
    out = flat.clone()
    for sink, visual in sequences:
        query = attention.q_proj(module.query_norm(flat[sink])).view(attention.num_heads, 1, -1)
        normed = module.visual_norm(flat[visual])
        keys = (normed @ attention.key_weight.T).view(len(visual), attention.num_heads, -1).transpose(0, 1)
        values = (normed @ attention.value_weight.T).view(len(visual), attention.num_heads, -1).transpose(0, 1)
        weights = (query @ keys.mT / query.shape[-1] ** 0.5).softmax(-1)
        out[sink] = flat[sink] + attention.o_proj((weights @ values).reshape(-1))
    return out.view_as(hidden_BTH)


def positions_of(sequences: list[tuple[int, list[int]]]) -> CuePositions:
    longest = max(len(visual) for _, visual in sequences)
    filled = [visual + visual[:1] * (longest - len(visual)) for _, visual in sequences]
    valid = [[True] * len(visual) + [False] * (longest - len(visual)) for _, visual in sequences]
    return CuePositions(torch.tensor([s for s, _ in sequences]), torch.tensor(filled), torch.tensor(valid))


RAGGED = [(1, [3, 4, 5, 6, 7]), (21, [23, 25]), (33, [34])]


def test_folded_attention_equals_the_published_formulation() -> None:
    module, hidden = made(), torch.randn(3, 12, HIDDEN, generator=torch.Generator().manual_seed(2))
    for layer in (0, 5):
        ours = module(positions_of(RAGGED), layer, hidden)
        torch.testing.assert_close(ours, published(module, layer, hidden, RAGGED), rtol=0, atol=1e-6)
        assert (ours - hidden).abs().max() > 0.1


def test_gradients_equal_those_of_the_published_formulation() -> None:
    module, hidden = made(), torch.randn(3, 12, HIDDEN, generator=torch.Generator().manual_seed(2)).requires_grad_()
    probe = torch.randn(3, 12, HIDDEN, generator=torch.Generator().manual_seed(3))
    leaves = [hidden, *module.layers["5"].parameters(), module.query_norm.weight, module.visual_norm.weight]
    ours = torch.autograd.grad((module(positions_of(RAGGED), 5, hidden) * probe).sum(), leaves)
    theirs = torch.autograd.grad((published(module, 5, hidden, RAGGED) * probe).sum(), leaves)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-5, atol=2e-6)


def test_attention_weights_sum_to_one_and_are_zero_at_padding() -> None:
    attention, positions = made().attentions()[0], positions_of(RAGGED)
    states = torch.randn(36, HIDDEN)
    _, weights = attention(
        states[positions.sinks_S], states[positions.visual_SN], positions.valid_SN, torch.ones(HIDDEN), 1e-6
    )
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, HEADS))
    assert torch.all(weights[~positions.valid_SN[:, None].expand_as(weights)] == 0)


def test_only_sinks_are_changed() -> None:
    hidden = torch.randn(3, 12, HIDDEN)
    changed = (made()(positions_of(RAGGED), 0, hidden) != hidden).any(-1).flatten().nonzero()[:, 0]
    assert changed.tolist() == [1, 21, 33]


def test_a_layer_without_attention_returns_its_input() -> None:
    hidden = torch.randn(3, 12, HIDDEN)
    assert made()(positions_of(RAGGED), 3, hidden) is hidden


def test_sequences_do_not_affect_each_other() -> None:
    module, hidden = made(), torch.randn(3, 12, HIDDEN)
    together = module(positions_of(RAGGED), 0, hidden).flatten(0, 1)
    for sink, visual in RAGGED:
        alone = module(positions_of([(sink, visual)]), 0, hidden).flatten(0, 1)
        torch.testing.assert_close(together[sink], alone[sink], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_bfloat16_stays_close_to_float32(scale: float) -> None:
    module, hidden = made(), torch.randn(3, 12, HIDDEN, generator=torch.Generator().manual_seed(2)) * scale
    exact = module(positions_of(RAGGED), 0, hidden) - hidden
    states = hidden.bfloat16()
    rough = made().bfloat16()(positions_of(RAGGED), 0, states) - states
    assert rough.isfinite().all()
    # One unit in the last place of the state that the update was added to, and the update's own rounding.
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.03 + 0.02 * scale)


def test_initial_weights_depend_on_the_seed_and_the_output_is_zero() -> None:
    first, again, other = (CueRecovery(HIDDEN, HEADS, 1e-6, (0, 5)) for _ in range(3))
    first.initialise(0.02, seed=1)
    again.initialise(0.02, seed=1)
    other.initialise(0.02, seed=2)
    for layer, attention in first.attentions().items():
        assert torch.count_nonzero(attention.o_proj.weight) == 0
        for name in ("q_proj.weight", "key_weight", "value_weight"):
            weight = attention.get_parameter(name)
            assert torch.equal(weight, again.attentions()[layer].get_parameter(name))
            assert not torch.equal(weight, other.attentions()[layer].get_parameter(name))
            assert 0.018 < float(weight.detach().std()) < 0.022
    assert not torch.equal(first.attentions()[0].key_weight, first.attentions()[5].key_weight)


def test_backward_saves_no_projected_keys() -> None:
    tokens, hidden_size = 200, 64
    attention = SinkAttention(hidden_size, 4)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    states = torch.randn(1, tokens, hidden_size, requires_grad=True)
    sizes: dict[int, int] = {}

    def pack(saved: Tensor) -> Tensor:
        if saved.numel() >= states.numel():
            sizes[saved.untyped_storage().data_ptr()] = saved.numel()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        attention(
            torch.randn(1, hidden_size), states, torch.ones(1, tokens, dtype=torch.bool), torch.ones(hidden_size), 1e-6
        )
    assert sizes == {states.untyped_storage().data_ptr(): states.numel()}
