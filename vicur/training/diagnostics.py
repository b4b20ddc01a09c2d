"""What the paper tracks while a student trains: where the teacher and the student part, and whether the hint leaks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vicur.answers import hint_leaks

_SEGMENTS = ("quarter_1", "quarter_2", "quarter_3", "quarter_4")


def logprob_gap(teacher_BR: Tensor, student_BR: Tensor, mask_BR: Tensor) -> dict[str, float]:
    """Teacher minus student log-prob of the sampled tokens, in nats a token: whole response, halves, quarters.

    Token n of a response of length N lies in quarter floor(4 n / N). Segments are averaged over all tokens of the batch that lie in them;
    one that no token lies in (responses of fewer than four tokens) is left out.
    """
    gap_BR = (teacher_BR - student_BR).detach()
    length_B1 = mask_BR.sum(-1, keepdim=True).clamp(min=1)
    place_BR = mask_BR.cumsum(-1) - 1
    quarter_BR = torch.div(4 * place_BR, length_B1, rounding_mode="floor")
    parts = {"whole": mask_BR, "half_1": mask_BR & (quarter_BR < 2), "half_2": mask_BR & (quarter_BR >= 2)}
    parts |= {name: mask_BR & (quarter_BR == n) for n, name in enumerate(_SEGMENTS)}
    return {f"gap/{name}": float(gap_BR[part].mean()) for name, part in parts.items() if bool(part.any())}


def hint_leakage(texts: Sequence[str]) -> dict[str, float]:
    """Responses that hold the whole word "Hint", in any case, and how often they hold it (the paper's two counts)."""
    counts = [hint_leaks(text) for text in texts]
    return {"leakage/samples": float(sum(c > 0 for c in counts)), "leakage/occurrences": float(sum(counts))}
