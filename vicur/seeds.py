"""One root seed, named substreams: a draw added in one place changes no other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def substream(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the substream ``names`` (``"rollout", step``) of root ``seed``; the same on every machine."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for a substream. PCG64's stream is part of numpy's compatibility promise."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(substream(seed, *names)))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """A torch generator for a substream."""
    import torch

    return torch.Generator(device=device).manual_seed(substream(seed, *names))
