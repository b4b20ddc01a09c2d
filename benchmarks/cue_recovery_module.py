"""Time of one cue recovery module: the folded attention of ``vicur.modeling.recovery`` against projected keys and values.

Run with ``python benchmarks/cue_recovery_module.py [--repeats 3] [--device cpu]``. One sequence of 1,821 tokens, 1,782 of them visual,
at the hidden sizes of Qwen3-VL-2B and 8B; float32 on one thread of a CPU, bfloat16 on a GPU. The shortest of the repeats is shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vicur.modeling.positions import CuePositions
from vicur.modeling.recovery import CueRecovery

TOKENS, VISUAL = 1821, 1782
SIZES = {"2B": (2048, 16), "8B": (4096, 32)}


def projected(module: CueRecovery, positions: CuePositions, hidden_BTH: Tensor) -> Tensor:
    """The published formulation: keys and values of all visual tokens are projected."""
    attention = module.attentions()[0]
    hidden_TH = hidden_BTH.flatten(0, 1)
    heads = (attention.num_heads, -1)
    query_SKD = attention.q_proj(module.query_norm(hidden_TH[positions.sinks_S])).unflatten(-1, heads)
    normed_SNH = module.visual_norm(hidden_TH[positions.visual_SN])
    keys_SKND = (normed_SNH @ attention.key_weight.T).unflatten(-1, heads).transpose(1, 2)
    values_SKND = (normed_SNH @ attention.value_weight.T).unflatten(-1, heads).transpose(1, 2)
    pooled_SK1D = torch.nn.functional.scaled_dot_product_attention(query_SKD[:, :, None], keys_SKND, values_SKND)
    return hidden_TH.index_add(0, positions.sinks_S, attention.o_proj(pooled_SK1D.flatten(1))).view_as(hidden_BTH)


def milliseconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Shortest time of ``work``: processor time on a CPU, which other load on the machine hardly disturbs, else wall-clock time."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats):
        started = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (clock() - started))
    return min(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    print(f"torch {torch.__version__}, {options.device}, {dtype}, {VISUAL} visual of {TOKENS} tokens")
    print(f"{'size':4}  {'formulation':11}  {'forward ms':>10}  {'with backward ms':>16}  {'largest difference':>18}")
    for size, (hidden_size, heads) in SIZES.items():
        module = CueRecovery(hidden_size, heads, 1e-6, (0,))
        module.initialise(0.02, seed=0)
        torch.nn.init.normal_(module.attentions()[0].o_proj.weight, std=0.02)
        module.to(device=options.device, dtype=dtype)
        hidden = torch.randn(1, TOKENS, hidden_size, device=options.device, dtype=dtype, requires_grad=True)
        visual = torch.arange(10, 10 + VISUAL, device=options.device)[None]
        positions = CuePositions(
            torch.zeros(1, dtype=torch.long, device=options.device), visual, torch.ones_like(visual, dtype=torch.bool)
        )
        wanted = projected(module, positions, hidden).detach()
        for name, run in {
            "projected": lambda m=module, p=positions, h=hidden: projected(m, p, h),
            "folded": lambda m=module, p=positions, h=hidden: m(p, 0, h),
        }.items():
            with torch.no_grad():
                forward = milliseconds(run, options.repeats, options.device)
            both = milliseconds(lambda r=run: r().sum().backward(), options.repeats, options.device)
            difference = float((run().detach() - wanted).abs().max())
            print(f"{size:4}  {name:11}  {forward:10.1f}  {both:16.1f}  {difference:18.1e}")


if __name__ == "__main__":
    main()
