"""Cue recovery: between decoder layers, one token of each sequence attends to all of its visual tokens (arXiv 2606.05718).

After decoder layer l the state h of the sink token queries the states V of the visual tokens, and the result is added to it:

    q = norm_q(h) W_Q,  K = norm_v(V) W_K,  U = norm_v(V) W_V,  h <- h + softmax(q K^T / sqrt(D)) U W_O      (a head each, no bias)

There is one query a sequence, so neither K nor U is ever formed. In each head

    q K^T = (q W_K^T) norm_v(V)^T   and   softmax(..) U = (softmax(..) norm_v(V)) W_V:

W_K moves into the query and W_V behind the pooling, the same function in another order. The norm follows it: its gain moves the same
way, and its division by the root mean square becomes a factor of the scores and of the weights, so that V is read as it is and nothing
of its size is written, nor kept for backward, but its gathered rows.

Axes: B rows, T columns, H hidden, S sequences with visual tokens, N visual tokens of the longest, K heads, D = H / K.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRMSNorm

from vicur.modeling.positions import CuePositions
from vicur.seeds import torch_generator


class SinkAttention(nn.Module):
    """Attention of the sink tokens at one decoder layer.

    ``key_weight`` and ``value_weight`` are W_K and W_V [out, in], with the layout of ``nn.Linear`` but never applied as one.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.value_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(
        self,
        query_SH: Tensor,  # states of the sinks, normed
        visual_SNH: Tensor,  # states of the visual tokens, before the norm
        valid_SN: Tensor,  # false at padding; each sequence has at least one token
        gain_H: Tensor,  # gain of the visual states' RMS norm
        eps: float,  # epsilon of that norm
    ) -> tuple[Tensor, Tensor]:
        """Pool the visual states of each sequence.

        Returns the update of the sinks [S, H], and the attention weights in float32, zero at padding [S, K, N].
        """
        heads = (self.num_heads, -1)
        query_SKD = self.q_proj(query_SH).unflatten(-1, heads)
        # W_K and the norm's gain move into the query, as derived above.
        folded_SKH = torch.einsum("skd,kdh->skh", query_SKD, self.key_weight.unflatten(0, heads))
        folded_SKH = folded_SKH * (gain_H * query_SKD.shape[-1] ** -0.5)
        norm_SN = torch.linalg.vector_norm(visual_SNH, dim=-1, dtype=torch.float32)
        inverse_S1N = torch.rsqrt(norm_SN.square() / visual_SNH.shape[-1] + eps)[:, None]
        scores_SKN = (folded_SKH @ visual_SNH.mT).float() * inverse_S1N
        weights_SKN = scores_SKN.masked_fill(~valid_SN[:, None], float("-inf")).softmax(-1)
        # W_V and the gain are applied after pooling.
        pooled_SKH = ((weights_SKN * inverse_S1N).to(visual_SNH.dtype) @ visual_SNH) * gain_H
        values_SKD = torch.einsum("skh,kdh->skd", pooled_SKH, self.value_weight.unflatten(0, heads))
        return self.o_proj(values_SKD.flatten(1)), weights_SKN


class CueRecovery(nn.Module):
    """All sink attentions of a student, and the two norms that they share. ``layers`` are the decoder layers that an attention follows."""

    def __init__(self, hidden_size: int, num_heads: int, eps: float, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.query_norm = Qwen3VLTextRMSNorm(hidden_size, eps=eps)
        self.visual_norm = Qwen3VLTextRMSNorm(hidden_size, eps=eps)
        self.layers = nn.ModuleDict({str(layer): SinkAttention(hidden_size, num_heads) for layer in layers})

    def attentions(self) -> dict[int, SinkAttention]:
        """Return the sink attentions by decoder layer."""
        return {int(layer): module for layer, module in self.layers.items() if isinstance(module, SinkAttention)}

    @torch.no_grad()
    def initialise(self, std: float, seed: int) -> None:
        """Sample W_Q, W_K and W_V from N(0, ``std``); set W_O to zero, so that a new module adds exactly nothing."""
        self.query_norm.weight.fill_(1.0)
        self.visual_norm.weight.fill_(1.0)
        for layer, module in self.attentions().items():
            # A substream per layer, on the CPU, so that every device and subset of layers gets the same weights.
            generator = torch_generator(seed, "cue_recovery", layer)
            for weight in (module.q_proj.weight, module.key_weight, module.value_weight):
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
            module.o_proj.weight.zero_()

    def forward(self, positions: CuePositions, layer: int, hidden_BTH: Tensor) -> Tensor:
        """Return the states after decoder layer ``layer`` with updated sinks, or unchanged if no attention follows the layer."""
        if str(layer) not in self.layers:
            return hidden_BTH
        hidden_XH = hidden_BTH.flatten(0, 1)
        query_SH = self.query_norm(hidden_XH[positions.sinks_S])
        visual_SNH = hidden_XH[positions.visual_SN]
        norm = self.visual_norm
        update_SH, _ = self.layers[str(layer)](
            query_SH, visual_SNH, positions.valid_SN, norm.weight, norm.variance_epsilon
        )
        # Under autocast the update has a lower precision than the states.
        return hidden_XH.index_add(0, positions.sinks_S, update_SH.to(hidden_XH.dtype)).view_as(hidden_BTH)
