"""Rows and sinks that the tests of the student share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tests.modeling.factory import Picture, chat_row

Sink = Literal["first", "assistant"]
SINKS: tuple[Sink, ...] = ("first", "assistant")
LONG = chat_row(Picture(2, 3, seed=1), 20, 21, 22, response=(30, 31, 32))
SHORT = chat_row(23, Picture(1, 2, seed=2), response=(33,))
SEVERAL = chat_row(Picture(2, 2, seed=3), 24, Picture(1, 3, seed=4), 25, response=(34, 35))
TEXT = chat_row(26, 27, response=(36, 37))
ROWS = [LONG, SHORT, SEVERAL, TEXT]
FRAMES = (Picture(2, 3, seed=5), Picture(2, 3, seed=6))


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    """Assert that no two values differ by more than ``tolerance``."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)
