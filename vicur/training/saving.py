"""The precision that a student is saved in.

The trained weights are float32, but at a learning rate of 1e-6 most updates are smaller than half the distance between neighbouring
bfloat16 values, and rounding to the nearest undoes them. Stochastic rounding keeps them in expectation: a weight is rounded up with a
probability equal to its place between both neighbours (Gupta et al. 2015, arXiv 1502.02551).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vicur.modeling.checkpoint import weight_files
from vicur.seeds import substream

# The 16 bits of a float32 that bfloat16 leaves out.
_LEFT_OUT = 0xFFFF


def cast_stochastically(model: nn.Module, seed: int) -> None:
    """Round the weights of a model to bfloat16, in place, each with a different random stream. Values of bfloat16 stay as they are."""
    for name, weight in model.named_parameters():
        weight.data = stochastic_bfloat16(weight.data, substream(seed, "save", name))
    # Buffers are constants.
    model.to(torch.bfloat16)


def stochastic_bfloat16(weight: Tensor, seed: int) -> Tensor:
    """Round float32 to one of the two neighbouring bfloat16 values, so that the expected value is the weight itself."""
    generator = torch.Generator().manual_seed(seed)
    # A number added to the last 16 bits carries into the others with the probability that they represent.
    noise = torch.randint(0, _LEFT_OUT + 1, weight.shape, generator=generator, dtype=torch.int32).to(weight.device)
    bits = (weight.float().contiguous().view(torch.int32) + noise) & ~_LEFT_OUT
    rounded = bits.view(torch.float32)
    # Close to the largest value, the carry would give infinity.
    return torch.where(rounded.isfinite(), rounded, weight).to(torch.bfloat16)


def changed_share(model: nn.Module, base: Path) -> float:
    """Return the share of the base's weights whose bfloat16 value differs in ``model``; 0 if they have no weight in common."""
    weights = model.state_dict()
    changed = total = 0
    for file in weight_files(base):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict)
                if name in weights:
                    before, after = tensors.get_tensor(name), weights[name]
                    changed += int((before.bfloat16() != after.to("cpu", torch.bfloat16)).sum())
                    total += before.numel()
    return changed / total if total else 0.0
