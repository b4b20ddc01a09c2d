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
    """The attention of the sink tokens at one decoder layer.

    ``key_weight`` and ``value_weight`` are W_K and W_V [out, in], laid out as in ``nn.Linear`` but never applied as one.

    Args:
        hidden_size: H.
        num_heads: K, a divisor of H.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.value_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(
        self, query_SH: Tensor, visual_SNH: Tensor, valid_SN: Tensor, gain_H: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """Pools the visual states of each sequence.

        Args:
            query_SH: states of the sinks, normed.
            visual_SNH: states of the visual tokens, not normed.
            valid_SN: false at padding; each sequence has a token.
            gain_H: gain of the visual states' RMS norm.
            eps: its epsilon.

        Returns:
            What to add to the sinks [S, H], and the attention weights in float32, zero at padding [S, K, N].
        """
        heads = (self.num_heads, -1)
        query_SKD = self.q_proj(query_SH).unflatten(-1, heads)
        folded_SKH = torch.einsum("skd,kdh->skh", query_SKD, self.key_weight.unflatten(0, heads))
        folded_SKH = folded_SKH * (gain_H * query_SKD.shape[-1] ** -0.5)
        norm_SN = torch.linalg.vector_norm(visual_SNH, dim=-1, dtype=torch.float32)
        inverse_S1N = torch.rsqrt(norm_SN.square() / visual_SNH.shape[-1] + eps)[:, None]
        scores_SKN = (folded_SKH @ visual_SNH.mT).float() * inverse_S1N
        weights_SKN = scores_SKN.masked_fill(~valid_SN[:, None], float("-inf")).softmax(-1)
        pooled_SKH = ((weights_SKN * inverse_S1N).to(visual_SNH.dtype) @ visual_SNH) * gain_H
        values_SKD = torch.einsum("skh,kdh->skd", pooled_SKH, self.value_weight.unflatten(0, heads))
        return self.o_proj(values_SKD.flatten(1)), weights_SKN


class CueRecovery(nn.Module):
    """All of a student's sink attentions, and the two norms that they share.

    Args:
        hidden_size: H of the text backbone.
        num_heads: heads of each attention.
        eps: epsilon of the norms.
        layers: the decoder layers that an attention follows.
    """

    def __init__(self, hidden_size: int, num_heads: int, eps: float, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.query_norm = Qwen3VLTextRMSNorm(hidden_size, eps=eps)
        self.visual_norm = Qwen3VLTextRMSNorm(hidden_size, eps=eps)
        self.layers = nn.ModuleDict({str(layer): SinkAttention(hidden_size, num_heads) for layer in layers})

    def attentions(self) -> dict[int, SinkAttention]:
        """The sink attentions by decoder layer."""
        return {int(layer): module for layer, module in self.layers.items() if isinstance(module, SinkAttention)}

    @torch.no_grad()
    def initialise(self, std: float, seed: int) -> None:
        """Draws W_Q, W_K and W_V from N(0, ``std``), from a substream a layer and on the CPU, so that every device gets the same.

        W_O is zero: what a new module adds is exactly nothing, and the student starts as its backbone.
        """
        self.query_norm.weight.fill_(1.0)
        self.visual_norm.weight.fill_(1.0)
        for layer, module in self.attentions().items():
            generator = torch_generator(seed, "cue_recovery", layer)
            for weight in (module.q_proj.weight, module.key_weight, module.value_weight):
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
            module.o_proj.weight.zero_()

    def forward(self, positions: CuePositions, layer: int, hidden_BTH: Tensor) -> Tensor:
        """The states after decoder layer ``layer`` with its sinks updated; the states themselves where no attention follows it."""
        if str(layer) not in self.layers:
            return hidden_BTH
        hidden_XH = hidden_BTH.flatten(0, 1)
        query_SH = self.query_norm(hidden_XH[positions.sinks_S])
        visual_SNH = hidden_XH[positions.visual_SN]
        norm = self.visual_norm
        update_SH, _ = self.layers[str(layer)](
            query_SH, visual_SNH, positions.valid_SN, norm.weight, norm.variance_epsilon
        )
        # Under autocast the update comes in its precision, and the states are in another.
        return hidden_XH.index_add(0, positions.sinks_S, update_SH.to(hidden_XH.dtype)).view_as(hidden_BTH)
