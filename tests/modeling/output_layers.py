"""Small output layers with hidden states, and their log-probabilities from all logits at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vicur.modeling.scoring import ResponseStates
from vicur.modeling.tiles import MASKED_LOGIT, TileSizes

# Tiles that end inside the vocabulary and inside the tokens, and strips of three tokens.
VOCABULARY = 57
RAGGED = TileSizes(tokens=5, vocabulary=7, strip_bytes=3 * VOCABULARY * 8)
WHOLE = TileSizes(tokens=10_000, vocabulary=10_000, strip_bytes=2**30)
# A complete tile, parts of others, the first and the last id.
FORBIDDEN = torch.tensor([0, 3, 14, 15, 16, 17, 18, 19, 20, 55, 56])
ALLOWED = torch.tensor([n for n in range(VOCABULARY) if n not in FORBIDDEN])


@dataclass(frozen=True, eq=False)
class Layer:
    """States [N, H] and weights [V, H]."""

    hidden_NH: Tensor
    weight_VH: Tensor

    def logprobs(self) -> Tensor:
        """Return all log-probabilities [N, V] in float64, very low at the forbidden ids."""
        logits_NV = self.hidden_NH.double() @ self.weight_VH.double().t()
        return logits_NV.index_fill(1, FORBIDDEN, MASKED_LOGIT).log_softmax(-1)

    def states(self, targets_N: Tensor) -> ResponseStates:
        """Return the states as those of one response."""
        return ResponseStates(
            self.hidden_NH, targets_N, torch.ones(1, len(targets_N), dtype=torch.bool), self.weight_VH
        )


def layer(
    seed: int, tokens: int = 13, hidden: int = 8, dtype: torch.dtype = torch.float64, requires_grad: bool = True
) -> Layer:
    """Return a layer with random states and weights."""
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(rows, hidden, generator=generator, dtype=torch.float64) for rows in (tokens, VOCABULARY))
    return Layer(*(tensor.to(dtype).requires_grad_(requires_grad) for tensor in made))


def sampled_ids(seed: int, *shape: int) -> Tensor:
    """Return random allowed ids."""
    generator = torch.Generator().manual_seed(seed)
    return ALLOWED[torch.randint(len(ALLOWED), shape, generator=generator)]
