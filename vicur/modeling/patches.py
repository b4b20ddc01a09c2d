"""Patches of images as a vision tower takes them: far larger than the encoded images, so they are made when they are needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor

_MAX_BYTES = 1_000_000_000


class PatchCache:
    """Keeps the patches that were used last.

    Args:
        max_bytes: memory for them.
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._left = max_bytes
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """The patches of the image with this key [patches, channels * temporal * patch * patch], made where they are not at hand."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        made = make()
        self._known[key] = made
        self._left -= made.nbytes
        while self._left < 0 and self._known:
            self._left += self._known.popitem(last=False)[1].nbytes
        return made
