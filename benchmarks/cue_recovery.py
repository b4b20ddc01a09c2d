"""The cost of cue recovery in prefill, compared with its published formulation.

    python -m benchmarks.cue_recovery [--hidden 2048 4096] [--repeats 3] [--device cpu] [--json FILE]

Prefill of one sequence through five decoder layers with one module (the ratio at interval 5), for the paper's two prompts: 88 tokens of
which 64 are visual, and 1,821 of which 1,782 are. Widths of Qwen3-VL-2B and 8B, random weights; float32 on one CPU thread, or bfloat16.

Three variants take turns: without the module, with it, and with the published formulation, which projects keys and values of all visual
tokens. ``overhead`` is the shortest time inside the module over the shortest time of everything else. ``whole`` is the increase of the
whole prefill: the same quantity, with the noise of a difference of long times.

The paper's figures (2B: +24.5 % and +7.0 %, 8B: +19.3 % and +4.3 %) are not comparable: whole models on an H200 with the published code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from benchmarks.reporting import report
from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery
from vicur.modeling.student import register_recovery_hooks

LAYERS = 5
PROMPTS = ((88, 64), (1821, 1782))
WIDTHS = {
    2048: {"intermediate_size": 6144, "num_attention_heads": 16},
    4096: {"intermediate_size": 12288, "num_attention_heads": 32},
}
VARIANTS = ("without", "folded", "projected")


def projected(module: CueRecovery, positions: CuePositions, layer: int, hidden_BTH: Tensor) -> Tensor:
    """The published formulation, which projects keys and values of all visual tokens."""
    if str(layer) not in module.layers:
        return hidden_BTH
    attention = module.attentions()[layer]
    hidden_TH = hidden_BTH.flatten(0, 1)
    heads = (attention.num_heads, -1)
    query_SKD = attention.q_proj(module.query_norm(hidden_TH[positions.sinks_S])).unflatten(-1, heads)
    normed_SNH = module.visual_norm(hidden_TH[positions.visual_SN])
    keys_SKND = (normed_SNH @ attention.key_weight.T).unflatten(-1, heads).transpose(1, 2)
    values_SKND = (normed_SNH @ attention.value_weight.T).unflatten(-1, heads).transpose(1, 2)
    pooled_SK1D = torch.nn.functional.scaled_dot_product_attention(query_SKD[:, :, None], keys_SKND, values_SKND)
    return hidden_TH.index_add(0, positions.sinks_S, attention.o_proj(pooled_SK1D.flatten(1))).view_as(hidden_BTH)


@dataclass
class Clock:
    """Times of all passes, and the time spent inside the module."""

    device: str
    inside: float = 0.0
    totals: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in VARIANTS})
    insides: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in VARIANTS})

    def now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        # CPU time depends little on other load on the machine.
        return time.process_time()

    def timed_module(self, work: Callable[[int, Tensor], Tensor]) -> Callable[[int, Tensor], Tensor]:
        """Return ``work`` with its time added to ``inside``."""

        def timed(layer: int, hidden_BTH: Tensor) -> Tensor:
            started = self.now()
            result = work(layer, hidden_BTH)
            self.inside += self.now() - started
            return result

        return timed

    def measure(self, name: str, work: Callable[[], object]) -> None:
        """Time one pass of a variant."""
        self.inside = 0.0
        started = self.now()
        work()
        self.totals[name].append(self.now() - started)
        self.insides[name].append(self.inside)

    def overhead(self, name: str) -> float:
        """Return the time inside the module over that outside of it, of the shortest passes."""
        outside = min(t - i for t, i in zip(self.totals[name], self.insides[name], strict=True))
        return min(self.insides[name]) / outside

    def whole(self, name: str) -> float:
        """Return the relative increase over the shortest pass without the module."""
        return min(self.totals[name]) / min(self.totals["without"]) - 1


@torch.no_grad()
def measure(hidden: int, prompts: tuple[tuple[int, int], ...], repeats: int, device: str) -> list[dict[str, float]]:
    """Return the rows of one width."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    config = Qwen3VLTextConfig(
        hidden_size=hidden,
        num_hidden_layers=LAYERS,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=8,
        rope_scaling={"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True},
        **WIDTHS[hidden],
    )
    model = Qwen3VLTextModel._from_config(config, dtype=dtype).to(device).eval()
    register_recovery_hooks(model)
    module = CueRecovery(hidden, config.num_attention_heads, config.rms_norm_eps, (0,))
    module.initialise(0.02, seed=0)
    torch.nn.init.normal_(module.attentions()[0].o_proj.weight, std=0.02)
    module.to(device=device, dtype=dtype)
    return [_row(model, module, hidden, tokens, visual, repeats, device) for tokens, visual in prompts]


def _row(
    model: Qwen3VLTextModel, module: CueRecovery, hidden: int, tokens: int, visual: int, repeats: int, device: str
) -> dict[str, float]:
    states = torch.randn(1, tokens, hidden, device=device, dtype=next(model.parameters()).dtype)
    places = torch.arange(10, 10 + visual, device=device)[None]
    sinks = torch.zeros(1, dtype=torch.long, device=device)
    positions = CuePositions(sinks, places, torch.ones_like(places, dtype=torch.bool))
    clock = Clock(device)
    variants: dict[str, Callable[[int, Tensor], Tensor] | None] = {
        "without": None,
        "folded": clock.timed_module(partial(module, positions)),
        "projected": clock.timed_module(partial(projected, module, positions)),
    }
    passes = {
        name: partial(model, inputs_embeds=states, use_cache=False, recover_cues=recover)
        for name, recover in variants.items()
    }
    outputs = {name: run().last_hidden_state for name, run in passes.items()}  # also the warm-up
    difference = float((outputs["folded"] - outputs["projected"]).abs().max())
    for _ in range(repeats):
        for name, run in passes.items():
            clock.measure(name, run)
    return {
        "hidden": hidden,
        "tokens": tokens,
        "visual_tokens": visual,
        "seconds": min(clock.totals["without"]),
        "overhead": clock.overhead("folded"),
        "whole": clock.whole("folded"),
        "reference_overhead": clock.overhead("projected"),
        "reference_whole": clock.whole("projected"),
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=list(WIDTHS), choices=list(WIDTHS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for hidden in options.hidden for row in measure(hidden, PROMPTS, options.repeats, options.device)]
    report(f"Cue recovery in prefill ({options.device}, torch {torch.__version__})", rows, options.json)


if __name__ == "__main__":
    main()
