"""One root seed with named substreams, so that a random draw added in one place does not change any other.

``grep -rnE "(substream|_generator)\\(" vicur`` lists the substreams in use. A new draw takes names that are not in that list.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def substream(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a substream such as ``"rollout", step`` of a root seed. It is the same on every machine."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for a substream."""
    import numpy as np

    # numpy guarantees the stream of a named bit generator across versions, but not that of default_rng().
    return np.random.Generator(np.random.PCG64(substream(seed, *names)))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> torch.Generator:
    """Return a torch generator for a substream."""
    import torch

    return torch.Generator(device=device).manual_seed(substream(seed, *names))
