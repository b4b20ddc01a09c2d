"""Cache of image patches, which are far larger than the encoded images and therefore made on demand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from torch import Tensor

_MAX_BYTES = 1_000_000_000


class PatchCache:
    """Least recently used cache of patches, of at most ``max_bytes``. Thread-safe."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._left = max_bytes
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """Return the patches of an image [patches, channels * temporal * patch * patch], calling ``make`` if they are not cached."""
        with self._lock:
            if (cached := self._cache.get(key)) is not None:
                self._cache.move_to_end(key)
                return cached
        # Without the lock, so that several threads decode at a time.
        patches = make()
        with self._lock:
            if key not in self._cache:
                self._cache[key] = patches
                self._left -= patches.nbytes
            while self._left < 0 and self._cache:
                self._left += self._cache.popitem(last=False)[1].nbytes
        return patches
